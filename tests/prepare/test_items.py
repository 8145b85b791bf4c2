import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scansynth.prepare.array import growing
from scansynth.prepare.items import File, Item, Label, Listing, read_listing, shard, write_listing


def item(name: str, **label) -> Item:
    return Item(name, "raster", (File(f"{name}.png", 3, "ab", "t1"),), Label("p_1", ("A", "B"), **label), (0, 4))


def test_a_listing_is_read_as_it_was_written(tmp_path):
    listing = Listing(
        [item("a", view="PA"), item("ü")],
        {"z": "no row", "b": "not DICOM"},
        ("labels.csv",),
        3,
        frozenset({"Doe", "4711"}),
        {"burned-in": 2},
        ("a note",),
    )
    write_listing(tmp_path / "listing.json", listing)
    assert read_listing(tmp_path / "listing.json") == listing
    first = (tmp_path / "listing.json").read_bytes()
    write_listing(tmp_path / "listing.json", read_listing(tmp_path / "listing.json"))
    assert (tmp_path / "listing.json").read_bytes() == first


@given(st.integers(0, 50), st.integers(1, 60))
def test_shards_in_a_row_are_all_items(items, count):
    everything = list(range(items))
    shards = [shard(everything, number, count) for number in range(1, count + 1)]
    assert [one for part in shards for one in part] == everything
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@given(st.lists(st.integers(0, 5), max_size=6))
def test_an_array_that_grew_is_an_array(tmp_path_factory, counts):
    images = [np.full((count, 2, 3), i, np.uint8) for i, count in enumerate(counts)]
    path = tmp_path_factory.mktemp("array") / "array.npy"
    with growing(path, (2, 3)) as array:
        for part in images:
            array.append(part)
    expected = np.concatenate([np.zeros((0, 2, 3), np.uint8), *images])
    np.testing.assert_array_equal(np.load(path), expected)
    same = io.BytesIO()
    np.save(same, expected)
    assert path.read_bytes() == same.getvalue()


def test_nothing_is_left_of_an_array_that_failed(tmp_path):
    with pytest.raises(KeyError), growing(tmp_path / "array.npy", (2,)) as array:
        array.append(np.zeros((1, 2), np.uint8))
        raise KeyError
    assert not list(tmp_path.iterdir())

"""Real tissue that is known to hold near-duplicates: the search for copies finds them, and nothing else.

LC25000 has some originals many times: mirrored, turned by any angle, and enlarged. The search knows mirrored, turned by
right angles and moved. Of three duplicates of each original it therefore finds but one, and calls nothing else a copy.
"""

import csv

import numpy as np
import pytest
from PIL import Image

from scansynth.evaluate.copies import Audit
from scansynth.evaluate.imagesets import ImageSet
from scansynth.evaluate.neighbours import symmetric

SIZE = 64
DUPLICATES = 3  # of each original that has any


def histograms(pixels):
    """Of each colour: the same however the tissue is turned."""
    levels = np.apply_along_axis(np.bincount, -1, pixels.reshape(*pixels.shape[:2], -1) // 16, minlength=16)
    return levels.reshape(len(pixels), -1) / pixels[0, 0].size


def as_set(pixels):
    return ImageSet(pixels, np.arange(len(pixels)), [{}] * len(pixels), np.arange(len(pixels)))


@pytest.fixture(scope="module")
def tiles(shared_data):
    """Tiles with no duplicate, one of each original that has duplicates, its duplicates, and whose these are."""
    folder = shared_data / "histo" / "lc25000-lung-224"
    if not folder.is_dir():
        pytest.skip("needs the lung tiles of LC25000")
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    groups = {}
    for row in rows:
        groups.setdefault(row["origin_group"], []).append(folder / row["class"] / row["file"])

    def read(files):
        images = [Image.open(file).convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS) for file in files]
        return np.moveaxis(np.stack([np.asarray(image) for image in images]), -1, 1)

    single = read([files[0] for files in groups.values() if len(files) == 1][::2])
    several = [files[: 1 + DUPLICATES] for files in groups.values() if len(files) > 1]
    duplicates = read([file for files in several for file in files[1:]])
    return single, read([files[0] for files in several]), duplicates, np.repeat(np.arange(len(several)), DUPLICATES)


@pytest.fixture(scope="module")
def audit(tiles):
    single, originals, _, _ = tiles
    train = np.concatenate([originals, single[::2]])
    return Audit.fitted(as_set(train), as_set(single[1::2]), histograms, 0.005, symmetries=8)


def test_near_duplicates_are_found_and_traced_to_their_originals(audit, tiles):
    _, originals, duplicates, source = tiles
    matches = audit.search(duplicates)
    right = matches.sources == source
    assert right[matches.copies].mean() > 0.95
    assert matches.copies.mean() > 0.2
    assert len(np.unique(source[matches.copies])) >= len(originals) / 2
    # By chance, one of a hundred would be.
    assert (matches.neighbour == source).mean() > 0.2
    assert (matches.lookalike == source).mean() > 0.8


def test_tiles_without_a_duplicate_are_not_called_copies(audit):
    assert audit.held_out.copies.mean() < 0.03


@pytest.mark.parametrize("number", range(8))
def test_tiles_are_found_in_every_symmetry(audit, tiles, number):
    originals = tiles[1]
    matches = audit.search(symmetric(originals[:10], number))
    assert matches.copies.all()
    np.testing.assert_array_equal(matches.sources, np.arange(10))

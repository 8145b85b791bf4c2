import numpy as np
from PIL import Image

from scansynth.picture import GAP, TITLE
from scansynth.prepare import contact_sheet
from scansynth.store import open_store


def test_each_split_has_its_rows_and_pixels_stay_as_they_are(tiny_store):
    store = open_store(tiny_store)
    sheet = np.asarray(contact_sheet.sheet(store))
    step = 2 * 64 + GAP
    assert sheet.shape == (5 * step + 3 * (GAP + TITLE), 12 * step + GAP, 3)
    first = store.pixels[store.indices("train")[0], 0].repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(sheet[TITLE + GAP :, GAP:, 0][:128, :128], first)


def test_same_bytes_twice(tiny_store, tmp_path, monkeypatch):
    manifest = tiny_store.with_suffix(".json")
    monkeypatch.chdir(tmp_path)
    for name in ("first", "second"):
        arguments = ["--settings", "{}", "--pixels", str(tiny_store), "--table", str(tiny_store.with_suffix(".csv"))]
        arguments += ["--manifest", str(manifest), "--sheet", f"{name}.png", "--histogram", f"{name}.svg"]
        contact_sheet.main(arguments)
    for suffix in (".png", ".svg"):
        assert (tmp_path / f"first{suffix}").read_bytes() == (tmp_path / f"second{suffix}").read_bytes()
    with Image.open("first.png") as image:
        assert image.width > 12 * 128
    assert "intensity" in (tmp_path / "first.svg").read_text()


def test_histogram_is_of_the_pixels(tiny_store):
    store = open_store(tiny_store)
    lines = contact_sheet.histogram(store).axes[0].get_lines()
    train = store.pixels[store.indices("train")]
    np.testing.assert_allclose(lines[0].get_ydata(), np.bincount(train.ravel(), minlength=256) / train.size)

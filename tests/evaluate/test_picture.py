import json

import numpy as np
from PIL import Image

from scansynth.evaluate import picture


def test_real_at_the_left_and_synthetic_at_the_right_pixel_by_pixel():
    real, synthetic = np.full((36, 1, 96, 96), 200, np.uint8), np.full((36, 1, 96, 96), 50, np.uint8)
    real[0, 0, 0, 0], synthetic[7, 0, 95, 95] = 1, 2
    found = np.asarray(picture.grid(real, synthetic, ("real", "synthetic"), ["gray"]))
    middle = found.shape[1] // 2
    top = picture.TITLE + picture.GAP
    assert set(np.unique(found[top:, :middle])) == {1, 200, 255}
    assert set(np.unique(found[top:, middle:])) == {2, 50, 255}
    assert found[top, picture.GAP].tolist() == [1, 1, 1]


def test_small_images_are_doubled_and_never_blurred():
    image = np.random.default_rng(0).integers(0, 256, (1, 1, 64, 64), dtype=np.uint8)
    found = np.asarray(picture.grid(image, image, ("", ""), ["gray"]))[:, :, 0]
    top = picture.TITLE + picture.GAP
    expected = image[0, 0].repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(found[top : top + 128, picture.GAP : picture.GAP + 128], expected)


def test_colour_is_kept():
    image = np.zeros((1, 3, 96, 96), np.uint8)
    image[0, 0] = 200
    found = picture.grid(image, image, ("", ""), ["red", "green", "blue"])
    assert found.getpixel((picture.GAP, picture.TITLE + picture.GAP)) == (200, 0, 0)


def test_contrasts_are_side_by_side():
    image = np.zeros((1, 3, 96, 96), np.uint8)
    image[0, 1] = 200
    found = picture.grid(image, image, ("", ""), ["t1", "t2", "flair"])
    row = [found.getpixel((picture.GAP + x, picture.TITLE + picture.GAP)) for x in (0, 96, 192)]
    assert row == [(0, 0, 0), (200, 200, 200), (0, 0, 0)]


def test_shown_beside_each_other_are_images_of_the_same_findings_and_view():
    def rows(*pairs):
        return [{"findings": findings, "view": view} for findings, view in pairs]

    real = rows(("A", "PA"), ("B", "PA"), ("A", "AP"), ("B", "PA"))
    assert picture.alike(real, rows(("B", "PA"), ("A", "AP"), ("B", "PA"))) == [1, 2, 3]
    assert picture.alike(real, rows(("C", "PA"), ("A", "AP"))) == [0, 2]
    assert sorted(picture.alike(real, rows(*[("A", "PA")] * 9))) == [0, 1, 2, 3]


def test_losses_are_told_apart(tmp_path):
    rows = [{"step": 1, "loss": 0.5, "learning_rate": 0.1}, {"step": 2, "loss": 0.4}, {"step": 2, "val_loss": 0.6}]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    train, val = picture.read_losses(path)
    assert train.tolist() == [[1, 0.5], [2, 0.4]]
    assert val.tolist() == [[2, 0.6]]


def test_smoothing_keeps_a_constant_and_the_length():
    np.testing.assert_allclose(picture.smoothed(np.full(20, 3.0), 5), 3)
    np.testing.assert_allclose(picture.smoothed(np.arange(20.0), 5)[2:-2], np.arange(20.0)[2:-2])


def test_same_bytes_twice(toy_path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("samples.npy", np.load(toy_path)[:40])
    (tmp_path / "samples.csv").write_text("findings,view\n" + "Bright,PA\n" * 40, encoding="utf-8")
    rows = [{"step": i, "loss": 1 / (i + 1)} for i in range(200)] + [{"step": 100, "val_loss": 0.1}]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for name in ("first", "second"):
        real = f"--pixels {toy_path} --table {toy_path.with_suffix('.csv')} --manifest {toy_path.with_suffix('.json')}"
        synthetic = "--samples samples.npy --conditions samples.csv --metrics train.jsonl"
        pictures = f"--grid {name}_grid.png --loss {name}.svg"
        picture.main(f"--settings {{}} {real} {synthetic} {pictures}".split())
    # The record of samples.npy is another stage's: it must not be written over.
    assert sorted(path.name for path in tmp_path.glob("*.record.json")) == ["first.record.json", "second.record.json"]
    for suffix in ("_grid.png", ".svg"):
        assert (tmp_path / f"first{suffix}").read_bytes() == (tmp_path / f"second{suffix}").read_bytes()
    with Image.open(tmp_path / "first_grid.png") as image:
        assert image.size[0] > image.size[1]

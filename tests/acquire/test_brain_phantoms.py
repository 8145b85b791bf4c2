"""The brain phantoms: contrasts against the signal equations, labels against truth, and the same bytes every time."""

import csv
import time

import nibabel as nib
import numpy as np
import pytest

from scansynth.acquire.phantoms import brain

SEED = 3
KINDS = ("t1", "t2", "flair", "seg")


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("brains")
    brain.generate(folder, count=4, seed=SEED, workers=1)
    return folder


@pytest.fixture(scope="module")
def rows(made):
    with (made / "truth.csv").open() as handle:
        return list(csv.DictReader(handle))


def first(wanted: bool) -> int:
    """The first subject with a tumour, or without."""
    return next(i for i in range(50) if (brain.draw(SEED, i)[0].tumour is not None) == wanted)


def load(folder, index, kind):
    return nib.load(folder / brain.name(index) / f"{brain.name(index)}_{kind}.nii.gz")


def test_same_bytes_for_any_count_and_number_of_workers_and_at_any_time(made, tmp_path):
    time.sleep(1.1)  # gzip's clock has seconds
    brain.generate(tmp_path, count=2, seed=SEED, workers=2)
    again, before = contents(tmp_path), contents(made)
    assert len(again) == 9
    for name, data in again.items():
        assert before[name].startswith(data) if name == "truth.csv" else before[name] == data


def test_another_seed_gives_another_head():
    assert not np.array_equal(brain.tissues(SEED, 0)["gray"], brain.tissues(SEED + 1, 0)["gray"])


def test_volumes_are_in_the_form_of_brats(made):
    for index in range(4):
        images = [load(made, index, kind) for kind in KINDS]
        for image in images:
            assert image.shape == brain.SHAPE and image.get_data_dtype() == np.int16
            assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
            np.testing.assert_allclose(image.header.get_zooms(), 2)
            np.testing.assert_array_equal(image.affine, images[0].affine)
        inside = [np.asarray(image.dataobj) > 0 for image in images[:3]]
        np.testing.assert_array_equal(inside[0], inside[1])
        np.testing.assert_array_equal(inside[0], inside[2])
        labels = np.asarray(images[3].dataobj)
        assert set(np.unique(labels)) <= {0, 1, 2, 4}
        assert not labels[~inside[0]].any()
        assert 1.0 < inside[0].sum() * 8 / 1e6 < 1.8  # litres


def test_signal_equations():
    assert brain.spin_echo(1000, 1e12, 2.0, tr=1000 * np.log(2), te=0) == pytest.approx(1.0)
    assert brain.spin_echo(1e-9, 100, 1.0, tr=1, te=100) == pytest.approx(np.exp(-1))
    null = 4000 * (np.log(2) - np.log1p(np.exp(-9000 / 4000)))
    assert brain.inversion_recovery(4000, 2000, 1, tr=9000, ti=null, te=100) == pytest.approx(0, abs=1e-12)


def test_tissues_are_as_bright_as_they_should_be():
    index = first(False)
    volumes, labels, _ = brain.render(SEED, index)
    shares = brain.tissues(SEED, index)
    assert not labels.any()

    # The ribbon is thin: no voxel is all gray matter, so that intensities are fitted to the shares.
    names = ("white", "gray", "csf", "deep")
    inside = volumes["t1"] > 0
    mixed = np.stack([shares[tissue][inside] for tissue in names], axis=1)
    for contrast, equation in brain.CONTRASTS.items():
        found = np.linalg.lstsq(mixed, volumes[contrast][inside].astype(float), rcond=None)[0]
        expected = np.array([equation(*brain.TISSUES[tissue]) for tissue in names])
        assert (np.argsort(found[:3]) == np.argsort(expected[:3])).all(), contrast
        np.testing.assert_allclose(found[1] / found[0], expected[1] / expected[0], rtol=0.15)
    brightness = {c: [e(*brain.TISSUES[t]) for t in ("white", "gray", "csf")] for c, e in brain.CONTRASTS.items()}
    assert np.argmax(brightness["t1"]) == 0 and np.argmax(brightness["t2"]) == 2 and np.argmax(brightness["flair"]) == 1


def test_tumours_are_bright_where_the_labels_say_so():
    index = first(True)
    volumes, labels, row = brain.render(SEED, index)
    shares = brain.tissues(SEED, index)
    white = volumes["flair"][shares["white"] > 0.95].mean()
    for label in (2, 4):
        assert volumes["flair"][labels == label].mean() > 1.3 * white
    assert row["tumour"] == 1 and (labels > 0).sum() * 0.008 == pytest.approx(
        sum(row[f"label_{label}_ml"] for label in (1, 2, 4)), abs=0.02
    )
    side = np.argwhere(labels > 0)[:, 0].mean() - (brain.SHAPE[0] - 1) / 2
    assert np.sign(side) == np.sign(row["tumour_left_mm"])


def test_shares_add_up_and_agree_with_the_table(rows):
    for index, row in enumerate(rows):
        shares = brain.tissues(SEED, index)
        total = sum(shares.values())
        assert total.min() >= 0 and total.max() <= 1 + 1e-5
        assert (total > 0.999).mean() > 0.1
        for tissue, share in shares.items():
            assert float(row[f"{tissue}_ml"]) == pytest.approx(share.sum() * 0.008, abs=0.01)


def test_a_head_without_a_tumour_is_nearly_symmetric():
    index = next(i for i in range(50) if brain.draw(SEED, i)[0].tumour is None)
    left, right = np.split(sum(brain.tissues(SEED, index).values()), 2)
    assert left.sum() == pytest.approx(right.sum(), rel=0.15)


def test_age_widens_ventricles_and_sulci():
    heads = [brain.draw(SEED, i)[0] for i in range(400)]
    ages = [head.age for head in heads]
    assert np.corrcoef(ages, [head.ventricles for head in heads])[0, 1] > 0.5
    assert np.corrcoef(ages, [head.sulci for head in heads])[0, 1] > 0.5
    assert 0.4 < np.mean([head.tumour is not None for head in heads]) < 0.6
    assert min(ages) >= 18 and max(ages) <= 90


@pytest.mark.parametrize(("count", "workers"), [(0, 1), (1, 0)])
def test_nothing_to_make(tmp_path, count, workers):
    with pytest.raises(ValueError, match="at least 1"):
        brain.generate(tmp_path, count=count, seed=0, workers=workers)

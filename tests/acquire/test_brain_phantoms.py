"""The brain phantoms: shapes and signals against closed forms, images against truth, and the same bytes every time."""

import csv
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.affines import apply_affine
from scipy import ndimage

from scansynth.acquire.phantoms import brain, brain_anatomy, brain_scan
from scansynth.acquire.phantoms import brain_parts as parts
from scansynth.acquire.phantoms import brain_shapes as shapes

SEED, COUNT = 3, 4
KINDS = ("t1", "t2", "flair", "seg")
MILLILITRE = 0.008  # of a voxel


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("brains")
    brain.generate(folder, count=COUNT, seed=SEED, workers=1)
    return folder


@pytest.fixture(scope="module")
def rows(made):
    with (made / "truth.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def subjects():
    return [brain.render(SEED, index) for index in range(COUNT)]


def load(folder, index, kind):
    return nib.load(folder / brain.name(index) / f"{brain.name(index)}_{kind}.nii.gz")


def line(*distances):
    return np.array(distances, np.float32)


def test_same_bytes_for_any_worker_count_and_any_count(made, tmp_path):
    brain.generate(tmp_path, count=2, seed=SEED, workers=2)
    two, four = contents(tmp_path), contents(made)
    assert len(two) == 9 and len(four) == 17
    for name, data in two.items():
        assert four[name].startswith(data) if name == "truth.csv" else four[name] == data


def test_files_hold_no_clock_and_no_path(made):
    for path in made.rglob("*.nii.gz"):
        data = path.read_bytes()
        assert data[3] == 0 and data[4:8] == bytes(4)  # gzip's flags (no name) and time
        header = nib.load(path).header
        assert not any(header[text].item() for text in ("descrip", "aux_file", "db_name", "intent_name"))


def test_another_seed_gives_another_head(subjects):
    other = brain.tissues(SEED + 1, 0)
    assert np.abs(other["gray"] - subjects[0].shares["gray"]).mean() > 0.01


def test_volumes_are_in_the_form_of_brats(made, subjects):
    for index, subject in enumerate(subjects):
        images = {kind: load(made, index, kind) for kind in KINDS}
        for kind, image in images.items():
            assert image.shape == (120, 120, 78) and image.get_data_dtype() == np.int16
            assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
            np.testing.assert_allclose(image.header.get_zooms(), 2)
            np.testing.assert_array_equal(image.affine, images["t1"].affine)
            kept = subject.labels if kind == "seg" else subject.volumes[kind]
            np.testing.assert_array_equal(np.asarray(image.dataobj), kept)
        head = sum(subject.shares.values()) > 0.5
        for volume in subject.volumes.values():
            np.testing.assert_array_equal(volume > 0, head)
            assert volume.max() < np.iinfo(np.int16).max
        assert set(np.unique(subject.labels)) <= {0, 1, 2, 4}
        assert not subject.labels[~head].any()
        assert not head[[0, -1]].any() and not head[:, [0, -1]].any()


def test_about_half_have_a_tumour_and_only_they_have_labels(subjects):
    heads = [brain.draw(SEED, index)[0] for index in range(400)]
    assert 0.4 < np.mean([head.tumour is not None for head in heads]) < 0.6
    assert {subject.head.tumour is None for subject in subjects} == {True, False}
    for subject in subjects:
        assert subject.labels.any() == (subject.head.tumour is not None)


def test_shares_add_up(subjects):
    for subject in subjects:
        total = sum(subject.shares.values())
        assert set(subject.shares) == set(brain_scan.TISSUES) == set(brain_anatomy.TISSUES)
        assert all(share.dtype == np.float32 and share.min() >= 0 for share in subject.shares.values())
        assert total.max() < 1 + 1e-5 and (total > 1 - 1e-5).mean() > 0.1


def test_truth_table_agrees_with_the_maps(rows, subjects):
    assert [row["subject"] for row in rows] == [brain.name(index) for index in range(COUNT)]
    for index, (row, subject) in enumerate(zip(rows, subjects, strict=True)):
        shares, labels = brain.tissues(SEED, index), subject.labels
        volume = {tissue: share.sum() * MILLILITRE for tissue, share in shares.items()}
        assert float(row["ventricles_ml"]) == pytest.approx(volume["ventricles"], abs=0.01)
        assert float(row["csf_ml"]) == pytest.approx(volume["ventricles"] + volume["csf"], rel=1e-4)
        assert float(row["brain_ml"]) == pytest.approx(sum(volume.values()) - float(row["csf_ml"]), rel=1e-4)
        assert float(row["white_ml"]) == pytest.approx(volume["white"] + volume["lesion"], rel=1e-4)
        gray = volume["gray"] + volume["striatum"] + volume["pallidum"]
        assert float(row["gray_ml"]) == pytest.approx(gray, rel=1e-4)
        assert float(row["tumour_core_ml"]) == pytest.approx(np.isin(labels, (1, 4)).sum() * MILLILITRE, abs=1e-3)
        assert float(row["oedema_ml"]) == pytest.approx((labels == 2).sum() * MILLILITRE, abs=1e-3)
        assert int(row["tumour"]) == labels.any()
        if labels.any():
            inverse = np.linalg.inv(brain.AFFINE)
            place = apply_affine(inverse, [float(row[f"tumour_{axis}_mm"]) for axis in "xyz"])
            np.testing.assert_allclose(place, np.argwhere(np.isin(labels, (1, 4))).mean(0), atol=1e-3)
            assert row["hemisphere"] == ("left" if place[0] > brain.SHAPE[0] / 2 else "right")
        else:
            assert row["hemisphere"] == row["tumour_x_mm"] == ""


def test_brains_are_as_large_as_those_of_adults(rows):
    for row in rows:
        assert 1000 < float(row["brain_ml"]) < 1700
        assert 1.1 < float(row["gray_ml"]) / float(row["white_ml"]) < 2.4
        assert 5 < float(row["ventricles_ml"]) < 60


def test_age_widens_ventricles_and_sulci():
    heads = [brain.draw(SEED, index)[0] for index in range(400)]
    ages = [head.age for head in heads]
    assert min(ages) >= 18 and max(ages) <= 90
    for trait in ("ventricles", "sulci", "lesions"):
        assert np.corrcoef(ages, [getattr(head, trait) for head in heads])[0, 1] > 0.5
    healthy = sorted((head for head in heads if head.tumour is None), key=lambda head: head.age)
    fluid = {}
    for who, some in (("young", healthy[:3]), ("old", healthy[-3:])):
        maps = [brain_anatomy.tissues(head) for head in some]
        fluid[who] = [sum(float(shares[tissue].sum()) for shares in maps) for tissue in ("ventricles", "csf")]
    assert np.all(np.array(fluid["old"]) > 1.3 * np.array(fluid["young"]))


def test_a_head_without_a_tumour_is_nearly_symmetric():
    head = replace(brain.draw(SEED, 0)[0], tumour=None, turn=np.zeros(3), shift=np.zeros(3))
    shares = brain_anatomy.tissues(head)
    whole = sum(shares.values()) > 0.5
    assert 2 * (whole & whole[::-1]).sum() / (2 * whole.sum()) > 0.93
    for tissue in ("white", "gray", "csf"):
        right, left = np.split(shares[tissue], 2)
        assert left.sum() == pytest.approx(right.sum(), rel=0.12)
    assert not np.array_equal(shares["gray"], shares["gray"][::-1])


@pytest.mark.parametrize("side", [-1, 1])
def test_a_tumour_pushes_and_stays_on_its_side(side):
    head = brain.draw(SEED, 0)[0]
    still = brain_anatomy.Tumour(np.array([side * 32, -5, 22]), radius=18, necrotic=0.5, oedema=6, push=0)
    middles = []
    for tumour in (still, replace(still, push=6)):
        shares = brain_anatomy.tissues(replace(head, tumour=tumour, turn=np.zeros(3), shift=np.zeros(3)))
        own, other = np.split(shares["rim"] + shares["necrosis"], 2)[::-side]
        assert other.sum() < 0.02 * own.sum()
        middles.append(np.average(np.arange(shapes.GRID[0]), weights=shares["ventricles"].sum((1, 2))))
    assert 0.3 < side * (middles[0] - middles[1]) < 4  # voxels


def test_tissues_are_as_bright_as_they_should_be(subjects):
    """The ribbon is thin, no voxel all cortex: intensities are fitted to the shares."""
    subject = next(subject for subject in subjects if subject.head.tumour is None)
    names = ("white", "gray", "csf")
    order = {"t1": "white gray csf", "t2": "csf gray white", "flair": "gray white csf"}
    head = sum(subject.shares.values()) > 0.999
    blurred = [ndimage.gaussian_filter(subject.shares[name], subject.scanner.blur) for name in names]
    inside = head & (sum(blurred) > 0.98)
    mixed = np.stack([share[inside] for share in blurred], axis=1)
    for contrast, sequence in subject.scanner.sequences.items():
        found = np.linalg.lstsq(mixed, subject.volumes[contrast][inside].astype(float), rcond=None)[0]
        assert [names[k] for k in np.argsort(-found)] == order[contrast].split(), contrast
        assert found[1] / found[0] == pytest.approx(sequence.signal("gray") / sequence.signal("white"), rel=0.1)


def test_tumours_are_bright_on_flair_where_the_labels_say_so(subjects):
    for subject in (subject for subject in subjects if subject.head.tumour):
        flair, t2 = subject.volumes["flair"], subject.volumes["t2"]
        white = subject.shares["white"] > 0.98
        bright = np.isin(subject.labels, (2, 4))
        assert np.median(flair[bright]) > 1.25 * np.median(flair[white])
        assert np.median(t2[subject.labels > 0]) > 1.5 * np.median(t2[white])


def test_every_scanner_gives_the_contrasts_their_order():
    rng = np.random.default_rng(0)
    for _ in range(200):
        scanner = brain_scan.draw_scanner(rng)
        signal = {c: {t: s.signal(t) for t in brain_scan.TISSUES} for c, s in scanner.sequences.items()}
        t1, t2, flair = signal["t1"], signal["t2"], signal["flair"]
        assert t1["white"] > 1.2 * t1["gray"] > 1.2 * t1["csf"]
        assert t2["csf"] > 1.2 * t2["gray"] > 1.2 * t2["white"]
        assert flair["csf"] < 1e-6 and flair["white"] < flair["gray"] < 1.3 * flair["white"]
        assert all(flair[tissue] > 1.15 * flair["gray"] for tissue in ("oedema", "rim", "solid", "lesion"))
        assert all(s["striatum"] > s["pallidum"] for s in (t2, flair))


def test_signals_are_the_closed_forms():
    t1, t2, density = brain_scan.TISSUES["white"]
    half = t1 * np.log(2)
    assert brain_scan.Sequence(half, 0).signal("white") == pytest.approx(density / 2)
    assert brain_scan.Sequence(1e6, t2).signal("white") == pytest.approx(density / np.e)
    assert brain_scan.Sequence(1e6, 0, half).signal("white") == pytest.approx(0, abs=1e-9)
    assert brain_scan.Sequence(1e6, 0, 1e5).signal("white") == pytest.approx(density)


def test_noise_is_rician_and_as_strong_as_meant():
    rng = np.random.default_rng(1)
    scanner = replace(brain_scan.draw_scanner(rng), bias=0.0, noise=0.05, blur=0.0)
    white = np.zeros(shapes.GRID, np.float32)
    white[:40] = 1
    brain_too = np.ones(shapes.GRID, bool)
    brain_too[:, :, 0] = False
    for contrast, volume in brain_scan.scan(scanner, {"white": white}, brain_too, rng).items():
        signal = scanner.gain[contrast] * scanner.sequences[contrast].signal("white")
        assert not volume[:, :, 0].any() and volume[:, :, 1:].min() >= 1
        assert volume[:40, :, 1:].mean() == pytest.approx(signal, rel=0.01)
        assert volume[:40, :, 1:].std() == pytest.approx(0.05 * signal, rel=0.02)
        assert volume[40:, :, 1:].mean() == pytest.approx(0.05 * signal * np.sqrt(np.pi / 2), rel=0.1)  # Rayleigh


@given(half=st.floats(0.05, 6), offset=st.floats(-1, 1))
def test_a_sheet_has_its_volume_however_thin(half, offset):
    away = np.abs(np.arange(-20, 21) * shapes.MM + offset)
    assert shapes.within(away, half).sum() * shapes.MM == pytest.approx(2 * half, rel=1e-5)


def test_distances_are_the_closed_forms():
    at = np.array([[0, 10, 0], [0, 0, 0], [0, 0, 7]], np.float32)
    np.testing.assert_allclose(shapes.ellipsoid(at, (0, 0, 0), (4, 4, 4)), [-4, 6, 3], atol=1e-5)
    np.testing.assert_allclose(shapes.chain(at, (0, 0, 0, 2), (20, 0, 0, 4)), [-2, 7 - 10, 5], atol=1e-5)
    np.testing.assert_allclose(shapes.chain(at, (0, 0, 0, 2), (20, 0, 0, 4), size=0.5), [-1, -1.5, 6], atol=1e-5)
    np.testing.assert_allclose(shapes.inside(line(-2, -0.5, 0, 0.5, 2)), [1, 0.75, 0.5, 0.25, 0])


def test_smooth_unions_fill_only_the_corner():
    a, b = line(5, 1, 2, -3), line(1, 1, 8, 4)
    joined = shapes.join(a, b, 3)
    np.testing.assert_allclose(joined, [1, 1 - 3 / 4, 2, -3])
    np.testing.assert_allclose(shapes.meet(-a, -b, 3), -joined)


def test_fields_have_unit_variance_and_their_scale():
    rng = np.random.default_rng(2)
    many = np.concatenate([shapes.field(rng, 6).ravel() for _ in range(4)])
    assert many.mean() == pytest.approx(0, abs=0.03) and many.std() == pytest.approx(1, abs=0.03)
    waves = shapes.ripples(rng, 20)
    power = (np.abs(np.fft.rfft(waves, axis=1)) ** 2).mean((0, 2))
    frequency = np.fft.rfftfreq(waves.shape[1], shapes.MM)
    # One wavelength in all directions: along a line the mean square of the frequency is a third of it.
    assert (power * frequency**2).sum() / power.sum() == pytest.approx(1 / 3 / 20**2, rel=0.15)


def test_parts_are_where_they_belong():
    def inside(distance):
        return bool(distance[0] < 0)

    def at(*position):
        return np.array(position, np.float32)[:, None]

    frontal_pole, occipital_pole, vertex = at(20, 62, 5), at(15, -98, 5), at(25, -25, 68)
    temporal_pole, hollow = at(36, 16, -34), at(10, 20, -45)
    for place in (frontal_pole, occipital_pole, vertex, temporal_pole):
        assert inside(parts.cerebrum(place, parts.floor(place), 0.15))
    assert not inside(parts.cerebrum(hollow, parts.floor(hollow), 0.15))
    below = at(25, -65, -40)
    assert inside(parts.cerebellum(below, parts.floor(below)))
    assert not inside(parts.cerebrum(below, parts.floor(below), 0.15))
    assert inside(parts.stem(at(0, -25, -34))) and not inside(parts.stem(at(0, 10, -34)))
    assert inside(parts.ventricles(at(24, -41, 11), 1)) and not inside(parts.ventricles(at(0, 5, 14), 1))
    assert [name for name, away in parts.nuclei(at(26, 2, 1)).items() if away < 0] == ["striatum"]
    assert [name for name, away in parts.nuclei(at(11, -18, 7)).items() if away < 0] == ["thalamus"]


@pytest.mark.parametrize(("count", "workers"), [(0, 1), (1, 0)])
def test_counts_below_one_are_refused(tmp_path, count, workers):
    with pytest.raises(ValueError, match="at least 1"):
        brain.generate(tmp_path, count=count, seed=0, workers=workers)


def test_negative_index_is_refused():
    with pytest.raises(ValueError, match="negative"):
        brain.tissues(SEED, -1)

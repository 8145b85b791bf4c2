"""The chest phantoms: physics against closed forms, labels against truth, and the same bytes every time."""

import csv
from collections import Counter
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from scansynth.acquire.phantoms import chest, frontal, projection

SEED = 11


def rays(view="PA", size=96, distance=1800.0, turn=None):
    return projection.cone_beam(
        view,
        distance=distance,
        gap=150.0,
        pixel=420.0 / size,
        size=size,
        turn=np.eye(3) if turn is None else turn,
        shift=(0.0, 0.0),
    )


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("twelve")
    chest.generate(folder, count=12, seed=SEED, workers=1)
    return folder


def test_same_bytes_for_any_worker_count_and_any_count(made, tmp_path):
    chest.generate(tmp_path / "one", count=6, seed=SEED, workers=1)
    chest.generate(tmp_path / "two", count=6, seed=SEED, workers=2)
    one, two, twelve = contents(tmp_path / "one"), contents(tmp_path / "two"), contents(made)
    assert one == two
    tables = {name for name in one if name.endswith(".csv")}
    assert len(one) == 8 and len(tables) == 2
    views = {line.split(",")[6] for line in one["Data_Entry_2017_v2020.csv"].decode().splitlines()[1:]}
    assert views == {"PA", "AP", "LATERAL"}
    for name, data in one.items():
        assert twelve[name].startswith(data) if name in tables else twelve[name] == data


def test_another_seed_gives_other_images():
    item = chest.plan(SEED, 1)[0]
    assert not np.array_equal(chest.render(SEED, item)[0], chest.render(SEED + 1, item)[0])


@pytest.mark.parametrize("view", ["PA", "AP", "LATERAL"])
def test_ellipsoid_chord_is_the_closed_form(view):
    beam = rays(view, turn=projection.rotation(0.1, -0.05))
    radius, centre = 40.0, np.array([25.0, -30.0, 20.0])
    seen = projection.chord(beam, centre, np.eye(3) / radius**2)
    ways = np.stack(beam.direction, -1).astype(float)
    ways /= np.linalg.norm(ways, axis=-1, keepdims=True)
    miss = np.linalg.norm(np.cross(ways, centre - beam.source), axis=-1)
    expected = 2 * np.sqrt(np.maximum(radius**2 - miss**2, 0))
    assert expected.max() == pytest.approx(2 * radius, rel=0.01)
    assert np.abs(seen - expected)[np.abs(miss - radius) > 0.1].max() < 0.05


def test_chord_through_the_centre_of_a_turned_ellipsoid():
    beam = rays(size=97)
    turn = projection.rotation(0.4, 0.7)
    form = turn @ np.diag(1 / np.square([60.0, 25.0, 35.0])) @ turn.T
    middle = projection.chord(beam, np.zeros(3), form)[48, 48]
    assert middle == pytest.approx(2 / np.sqrt(form[2, 2]), rel=1e-4)


def test_union_of_overlapping_intervals():
    def span(a, b):
        return np.array([a], np.float32), np.array([b], np.float32)

    low, high = np.zeros(1, np.float32), np.full(1, 10, np.float32)
    intervals = [span(-1, 2), span(1, 4), span(3, 3.5), span(8, 20), span(np.inf, -np.inf)]
    assert projection.union_length(intervals, low, high) == pytest.approx(6.0)


def test_tube_keeps_its_mass_and_its_profile():
    beam = rays(size=128)
    tubes = projection.Tubes(beam)
    n, length, radius, attenuation = 400, 100.0, 12.0, 0.02
    points = np.stack([np.zeros(n), np.linspace(-length / 2, length / 2, n), np.zeros(n)], 1)
    tubes.add(points, np.full(n, length / n * np.pi * radius**2 * attenuation), radius)
    image = tubes.image()
    volume = np.pi * radius**2 * length
    assert image.sum() * (beam.pixel * beam.middle) ** 2 == pytest.approx(volume * attenuation, rel=1e-3)
    assert image[64, 60:68].max() == pytest.approx(2 * radius * attenuation, rel=0.05)


def test_heart_is_larger_in_ap_than_in_pa_of_the_same_patient():
    case = chest.draw_case(SEED, chest.plan(SEED, 1)[0])[0]
    still = replace(case.state, nodules=(), effusion=(0.0, 0.0), pneumothorax=("", 1.0))
    ratios, widths = {}, {}
    for view, distance in (("PA", 1800.0), ("AP", 1050.0)):
        seen = frontal.Chest(rays(view, 256, distance), case.body, still)
        ratios[view] = seen.cardiothoracic_ratio()
        widths[view] = np.ptp(np.nonzero(seen.heart_shadow.any(0))[0])
    assert ratios["AP"] > ratios["PA"] + 0.01
    assert widths["AP"] > 1.05 * widths["PA"]


def test_cardiothoracic_ratio_follows_the_label():
    ratios = {True: [], False: []}
    for item in chest.plan(SEED, 150):
        case = chest.draw_case(SEED, item)[0]
        if case.view == "PA":
            ratio = frontal.Chest(case.rays, case.body, case.state).cardiothoracic_ratio()
            ratios["Cardiomegaly" in case.labels].append(ratio)
    assert len(ratios[True]) > 3
    assert min(ratios[True]) > 0.55
    assert min(ratios[False]) > 0.38 and max(ratios[False]) < 0.50


def test_findings_are_as_frequent_as_meant_and_match_the_state():
    labels, views, patients = Counter(), Counter(), Counter()
    items = chest.plan(SEED, 1500)
    for item in items:
        case = chest.draw_case(SEED, item)[0]
        labels.update(case.labels)
        views[case.view] += 1
        patients[item.patient] += 1
        assert ("Nodule" in case.labels) == bool(case.state.nodules)
        assert ("Effusion" in case.labels) == any(case.state.effusion)
        assert ("Pneumothorax" in case.labels) == bool(case.state.pneumothorax[0])
        assert ("Cardiomegaly" in case.labels) == chest.enlarged(case.body)
    share = {name: n / len(items) for name, n in labels.items()}
    assert 0.40 < share.pop("No Finding") < 0.50
    assert all(0.10 < s < 0.20 for s in share.values()) and len(share) == 4
    assert set(views) == {"PA", "AP", "LATERAL"}
    assert abs(views["LATERAL"] / len(items) - 0.15) < 0.03
    assert 0.55 < views["PA"] / (views["PA"] + views["AP"]) < 0.65
    assert set(patients.values()) == {1, 2, 3, 4} and 1.7 < np.mean(list(patients.values())) < 2.3


def test_monochrome1_and_2_hold_the_same_picture():
    """Read as a viewer would: rescale, window, then invert MONOCHROME1."""
    item = chest.plan(SEED, 1)[0]
    image, case, _, _ = chest.render(SEED, item)
    kinds = set()
    for k in range(40):
        ds = chest.dataset(SEED, image, case, np.random.default_rng(k))
        if "WindowCenter" not in ds:
            continue
        stored = np.frombuffer(ds.PixelData, "<u2").reshape(image.shape)
        value = stored * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        shown = (value - float(ds.WindowCenter)) / float(ds.WindowWidth) + 0.5
        shown = 1 - shown if ds.PhotometricInterpretation == "MONOCHROME1" else shown
        assert np.abs(shown - image).max() < 2e-3
        kinds.add((ds.PhotometricInterpretation, float(ds.RescaleSlope)))
    assert len(kinds) == 4


def test_files_are_plain_dicom_without_a_clock(made):
    paths = sorted((made / "images").iterdir())
    assert len(paths) == 12 and not list(made.rglob("*.part"))
    uids = set()
    for path in paths:
        ds = pydicom.dcmread(path)
        assert ds.Modality in ("DX", "CR") and ds.BodyPartExamined == "CHEST"
        assert (ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored, ds.HighBit) == (256, 256, 16, 12, 11)
        assert ds.PatientID == f"PHANTOM-{path.stem[:8]}" and "phantom" in ds.ImageComments.lower()
        assert ds.StudyDate == f"{2000 + int(path.stem[9:])}0101"
        assert ds.SOPInstanceUID.is_valid and ds.SOPInstanceUID.startswith("2.25.")
        assert ds.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
        pixels = ds.pixel_array
        assert pixels.dtype == np.uint16 and pixels.max() <= 4095 and pixels.std() > 300
        uids.add(ds.SOPInstanceUID)
    assert len(uids) == 12


def test_label_table_has_the_nih_columns(made):
    header, *lines = (made / "Data_Entry_2017_v2020.csv").read_text().splitlines()
    assert header == (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
    )
    names = [line.split(",")[0] for line in lines]
    assert sorted(names) == [p.name for p in sorted((made / "images").iterdir())]
    for line in lines:
        name, labels, follow_up, patient, age, sex, view, *size = line.split(",")
        ds = pydicom.dcmread(made / "images" / name, stop_before_pixels=True)
        assert name == f"{int(patient):08d}_{int(follow_up):03d}.dcm"
        assert set(labels.split("|")) <= {"No Finding", "Cardiomegaly", "Effusion", "Nodule", "Pneumothorax"}
        assert (int(age), sex) == (int(ds.PatientAge[:3]), ds.PatientSex)
        tags = {"PA": ("PA", ["L", "F"]), "AP": ("AP", ["L", "F"]), "LATERAL": ("LL", ["P", "F"])}
        assert (ds.ViewPosition, ds.PatientOrientation) == tags[view]
        assert size[:2] == ["256", "256"] and float(size[2]) == pytest.approx(float(ds.PixelSpacing[0]))


def test_truth_table_agrees_with_the_masks(made):
    with (made / "truth.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["image"] for r in rows] == [f"{i.name}.dcm" for i in chest.plan(SEED, 12)]
    masks = chest.truth_masks(SEED, 3)
    assert {k: (m.shape, m.dtype) for k, m in masks.items()} == dict.fromkeys(("lungs", "heart"), ((256, 256), bool))
    assert 0.1 < masks["lungs"].mean() < 0.5 and 0.02 < masks["heart"].mean() < 0.25
    # The heart's apex points to the patient's left: the right-hand side of the image.
    across = np.nonzero(masks["lungs"].any(0))[0]
    assert np.nonzero(masks["heart"])[1].mean() > across[[0, -1]].mean() + 3


def test_lungs_are_dark_and_the_mediastinum_bright():
    for item in chest.plan(SEED, 6):
        image, _, shot, _ = chest.render(SEED, item)
        assert image.min() >= 0 and image.max() <= 1
        assert np.median(image[shot.lungs]) + 0.2 < np.median(image[shot.heart & ~shot.lungs])


@pytest.mark.parametrize("wrong", [{"count": 0}, {"workers": 0}])
def test_counts_below_one_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match="at least 1"):
        chest.generate(tmp_path, **({"count": 1, "seed": 0, "workers": 1} | wrong))


def test_unknown_view_and_negative_index_are_refused():
    with pytest.raises(ValueError, match="view"):
        rays("LL")
    with pytest.raises(ValueError, match="negative"):
        chest.truth_masks(SEED, -1)

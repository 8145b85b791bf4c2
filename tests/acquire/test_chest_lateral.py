"""Lateral chest phantoms: the geometry against known answers, and against the same thorax seen from the front."""

import csv
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from scansynth.acquire.phantoms import chest, film, frontal, lateral, projection, thorax

SEED = 11
HEALTHY = {"nodules": (), "effusion": (0.0, 0.0), "pneumothorax": ("", 1.0)}


def beam(view, gap=200.0):
    """Wide enough for a whole chest, straight on."""
    return projection.cone_beam(
        view, distance=1800.0, gap=gap, pixel=460 / 256, size=256, turn=np.eye(3), shift=(0.0, 20.0)
    )


def laterals(count):
    items = chest.plan(SEED, 12 * count)
    return [item for item in items if chest.draw_case(SEED, item)[0].view == "LATERAL"][:count]


@pytest.fixture(scope="module")
def patients():
    """A few bodies with healthy states."""
    cases = [chest.draw_case(SEED, item)[0] for item in chest.plan(SEED, 8)[::2]]
    return [(case.body, replace(case.state, **HEALTHY)) for case in cases]


def volume(seen, lengths):
    """Millilitres of what rays meet ``lengths`` mm of, cavity by cavity."""
    areas = [(seen.rays.pixel * (one.low + one.high) / 2) ** 2 for one in seen.cavities]
    return sum(float((length * area).sum()) for length, area in zip(lengths, areas, strict=True)) / 1000


def test_the_front_is_at_the_left_and_the_right_side_magnified_most():
    rays = beam("LATERAL")
    points = np.array([[0, 0, 85], [0, 0, -62], [0, 100, 0], [0, -100, 0], [-80, 0, 50], [80, 0, 50]], float)
    column, row, t = rays.project(points)
    sternum, spine, _, _, right, left = column
    assert sternum < 127.5 < spine
    assert row[2] < row[3]
    # The right side is nearest the source: 1800 - 200 - 80 mm from it.
    assert t[4:] == pytest.approx([1520 / 1800, 1680 / 1800])
    assert (127.5 - right) * rays.pixel == pytest.approx(50 * 1800 / 1520)
    assert (127.5 - left) * rays.pixel == pytest.approx(50 * 1800 / 1680)
    z, y = rays.at(-80.0)
    near = np.rint([row[4], column[4]]).astype(int)
    assert (z[*near], y[*near]) == pytest.approx((50, 0), abs=rays.pixel)


def test_lungs_hold_as_much_air_from_the_side_as_from_the_front(patients):
    for body, state in patients:
        seen = [frontal.Chest(beam("PA"), body, state), lateral.Chest(beam("LATERAL"), body, state)]
        front, side = (volume(one, [cavity.air()[0] for cavity in one.cavities]) for one in seen)
        assert 1500 < front < 8000
        assert side == pytest.approx(front, rel=0.03)


@pytest.mark.parametrize("side", [0, 1])
def test_an_effusion_has_its_volume_and_its_side_from_the_side_too(patients, side):
    for body, state in patients:
        wet = replace(state, effusion=tuple(np.eye(2)[side] * 120.0))
        front = frontal.Chest(beam("PA"), body, wet).effusions()
        seen = lateral.Chest(beam("LATERAL"), body, wet).effusions()
        assert front[side] > 150
        assert seen[side] == pytest.approx(front[side], rel=0.15)
        assert seen[1 - side] == 0


@pytest.mark.parametrize("side", [0, 1])
def test_a_pneumothorax_is_on_its_side_and_as_large_as_from_the_front(patients, side):
    for body, state in patients:
        state = replace(state, pneumothorax=("RL"[side], 0.75))
        seen = lateral.Chest(beam("LATERAL"), body, state)
        gas = [cavity.air()[1] for cavity in seen.cavities]
        assert gas[side].max() > 20 and not gas[1 - side].any()
        front = frontal.Chest(beam("PA"), body, state)
        assert volume(seen, gas) == pytest.approx(volume(front, [front.cavities[0].air()[1]]), rel=0.15)


def test_angles_are_deepest_at_the_back(patients):
    for body, state in patients:
        seen = lateral.Chest(beam("LATERAL"), body, state)
        lungs = sum(cavity.air()[0] for cavity in seen.cavities) > 12
        rows, columns = np.nonzero(lungs)
        front, back = (rows[np.abs(columns - edge) < 8].max() for edge in (columns.min(), columns.max()))
        assert (back - front) * seen.rays.pixel > 25


def test_the_heart_lies_low_before_the_spine(patients):
    for body, state in patients:
        seen = lateral.Chest(beam("LATERAL"), body, state)
        rows, columns = np.nonzero(seen.heart_shadow)
        spine = seen.rays.project(np.array([[0.0, -30.0, lateral.SPINE]]))[0][0]
        lungs = np.argwhere(sum(cavity.air()[0] for cavity in seen.cavities) > 12)
        assert columns.mean() < lungs[:, 1].mean() < spine
        assert columns.max() < spine + 15 / seen.rays.pixel
        assert rows.mean() > lungs[:, 0].mean() + 10
        larger = replace(body, heart=body.heart + 0.15)
        assert lateral.Chest(beam("LATERAL"), larger, state).heart_shadow.sum() > 1.2 * seen.heart_shadow.sum()


def test_the_bent_back_is_bent_alike_for_points_and_for_closed_forms(patients):
    body, state = patients[0]
    seen = lateral.Chest(beam("LATERAL"), body, state)
    straight = np.array([[0.0, y, z] for y in (-120.0, 0.0, 100.0) for z in (-90.0, lateral.SPINE, 0.0, 70.0)])
    column, row, _ = seen.rays.project(lateral.bend(body, straight))
    pixels = tuple(np.rint([row, column]).astype(int))
    assert seen.z[pixels] == pytest.approx(straight[:, 2], abs=2 * seen.rays.pixel)
    assert seen.y[pixels] == pytest.approx(straight[:, 1], abs=2 * seen.rays.pixel)


def test_an_effusion_takes_the_lucency_from_the_posterior_angle():
    for item in laterals(3):
        case = chest.draw_case(SEED, item)[0]
        dry = replace(case.state, **HEALTHY)
        wet = replace(dry, effusion=(110.0, 110.0))
        # The same draws for both, so that they differ by the fluid alone.
        shots = [film.integrate(case.rays, case.body, state, np.random.default_rng(0)) for state in (dry, wet)]
        images = [film.develop(s, np.random.default_rng(0), noise=1e5, scatter=0.2, dark=15) for s in shots]
        rows, columns = np.nonzero(shots[0].lungs)
        lowest = rows[columns > np.percentile(columns, 85)].max()
        angle = shots[0].lungs & (np.indices(shots[0].lungs.shape)[0] > lowest - 15)
        angle[:, : int(np.percentile(columns, 85))] = False
        assert angle.sum() > 20
        assert shots[1].lungs[angle].mean() < 0.2
        assert shots[1].integral[angle].mean() > shots[0].integral[angle].mean() + 0.3
        assert images[1][angle].mean() > images[0][angle].mean() + 0.03


def test_breasts_stand_out_in_front_of_women_only(patients):
    body, state = patients[0]
    woman, man = (replace(body, female=breast > 0, breast=breast) for breast in (25.0, 0.0))
    seen = lateral.Chest(beam("LATERAL"), woman, state)
    mass = seen.breasts()
    skin = seen.half > 0
    assert mass.max() > 1 and np.nonzero(mass * ~skin)[1].max() < np.nonzero(skin)[1].mean()
    assert not np.any(lateral.Chest(beam("LATERAL"), man, state).breasts())


def test_a_nodule_is_where_the_truth_says():
    case = chest.draw_case(SEED, laterals(1)[0])[0]
    states = [replace(case.state, **HEALTHY), replace(case.state, **HEALTHY | {"nodules": (9.0,)})]
    without, with_one = (film.integrate(case.rays, case.body, state, np.random.default_rng(3)) for state in states)
    shadow = with_one.integral - without.integral
    [(x, y, size, radius)] = with_one.truth["nodules"]
    centre = np.average(np.indices(shadow.shape).reshape(2, -1), axis=1, weights=shadow.ravel())
    assert centre == pytest.approx([y * 256 - 0.5, x * 256 - 0.5], abs=0.5)
    assert radius == 9.0 and shadow.sum() > 0
    assert np.count_nonzero(shadow > 0.02) == pytest.approx(np.pi * (size * 256) ** 2, rel=0.15)


def test_the_share_of_laterals():
    views = [chest.draw_case(seed, item)[0].view for seed in (1, 2) for item in chest.plan(seed, 3000)]
    count = {view: views.count(view) for view in ("PA", "AP", "LATERAL")}
    assert sum(count.values()) == 6000
    # Within four standard deviations of 15 %, and of 60 % of the others.
    assert abs(count["LATERAL"] / 6000 - chest.LATERAL) < 4 * np.sqrt(0.15 * 0.85 / 6000)
    others = count["PA"] + count["AP"]
    assert abs(count["PA"] / others - 0.6) < 4 * np.sqrt(0.6 * 0.4 / others)


def test_laterals_are_taken_erect_with_the_lungs_in_the_field():
    for item in laterals(40):
        case = chest.draw_case(SEED, item)[0]
        assert case.rays.distance == 1800 and case.rays.along == 0 and case.rays.source[0] < 0
        z, y = case.body.depth + 8, case.body.apex
        bottom = thorax.dome_top(case.body, case.state) - 20
        column, row, _ = case.rays.project(np.array([[0, y, 0], [0, bottom, z], [0, bottom, -z]], float))
        assert min(column.min(), row.min()) > 0 and max(column.max(), row.max()) < chest.SIZE


def test_files_and_tables_of_laterals(tmp_path):
    chest.generate(tmp_path, count=6, seed=8, workers=1)
    with (tmp_path / "truth.csv").open(newline="") as file:
        truth = {row["image"]: row for row in csv.DictReader(file)}
    with (tmp_path / "Data_Entry_2017_v2020.csv").open() as file:
        view = {line.split(",")[0]: line.split(",")[6] for line in file.readlines()[1:]}
    assert list(view.values()).count("LATERAL") == 3
    for name, row in truth.items():
        ds = pydicom.dcmread(tmp_path / "images" / name)
        side_on = view[name] == "LATERAL"
        assert row["view"] == view[name]
        assert (row["cardiothoracic_ratio"] == "") == side_on
        assert float(row["heart_width_mm"]) < float(row["thorax_width_mm"])
        assert (ds.ViewPosition == "LL") == side_on == (list(ds.PatientOrientation) == ["P", "F"])
        assert float(ds.DistanceSourceToDetector) == 1800 or not side_on


def test_masks_of_a_lateral():
    index = laterals(1)[0].index
    masks = chest.truth_masks(SEED, index)
    assert {k: (m.shape, m.dtype) for k, m in masks.items()} == dict.fromkeys(("lungs", "heart"), ((256, 256), bool))
    image = chest.render(SEED, chest.plan(SEED, index + 1)[index])[0]
    assert 0.1 < masks["lungs"].mean() < 0.5 and 0.02 < masks["heart"].mean() < 0.2
    behind = masks["lungs"] & ~masks["heart"] & (np.arange(256) > np.nonzero(masks["heart"])[1].mean())
    assert np.median(image[behind]) < np.median(image[masks["heart"]])


def test_the_letter_is_an_l_and_lies_in_the_field():
    for draw in range(30):
        integral = np.zeros((256, 256), np.float32)
        film.mark(integral, np.random.default_rng(draw), "L", (60, 200), stroke=3)
        rows, columns = np.nonzero(integral)
        if rows.size:
            assert rows.size == 9 * sum(row.count("1") for row in film.LETTERS["L"])
            assert columns.min() > 140 and columns.max() < 200

"""The tissue phantoms: optics and geometry against closed forms, truth against pixels, the same bytes every time."""

import csv
import time
from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from scansynth.acquire.phantoms import tissue, tissue_cells, tissue_scene, tissue_slide
from scansynth.acquire.phantoms.tissue_cells import BLAST, KINDS, LYMPHOCYTE, SPINDLE, TUMOUR, Cells, Mosaic
from scansynth.acquire.phantoms.tissue_plane import PIXEL, PLANE, SIZE, STEP, smooth_noise
from scansynth.acquire.phantoms.tissue_scene import Region

SEED = 11
COUNT = 40


def contents(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def patches(folder, split):
    with h5py.File(folder / f"camelyonpatch_level_2_split_{split}_x.h5") as x:
        assert list(x) == ["x"]
        pixels = x["x"][:]
    with h5py.File(folder / f"camelyonpatch_level_2_split_{split}_y.h5") as y:
        assert list(y) == ["y"]
        return pixels, y["y"][:]


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def some_cells(x, y, long=5.0, short=5.0, angle=0.0, kind=TUMOUR):
    x, y = np.array(x, float), np.array(y, float)
    filled = (np.full(x.shape, value) for value in (long, short, angle, KINDS.index(kind)))
    return Cells(x, y, *filled)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tissue")
    tissue.generate(folder, count=COUNT, seed=SEED, workers=1)
    return folder


@pytest.fixture(scope="module")
def drawn():
    """Patches in order, with what is known of each."""
    return [tissue.render(SEED, index) for index in range(COUNT)]


def test_same_bytes_for_any_number_of_workers(made, tmp_path):
    tissue.generate(tmp_path, count=COUNT, seed=SEED, workers=2)
    assert contents(tmp_path) == contents(made)
    assert len(contents(made)) == 10


def test_same_patches_for_any_count(made, tmp_path):
    tissue.generate(tmp_path, count=17, seed=SEED, workers=1)
    for split in tissue.SPLITS:
        few, many = patches(tmp_path, split), patches(made, split)
        for a, b in zip(few, many, strict=True):
            assert len(a) and np.array_equal(a, b[: len(a)])
    for name, data in contents(tmp_path).items():
        if name.endswith(".csv"):
            assert (made / name).read_bytes().startswith(data)


def test_files_know_neither_clock_nor_path(tmp_path):
    for name in ("now", "a_second_later"):
        tissue.generate(tmp_path / name, count=3, seed=SEED, workers=1)
        time.sleep(1.1)  # HDF5 keeps times in whole seconds
    now, later = contents(tmp_path / "now"), contents(tmp_path / "a_second_later")
    assert now == later
    assert not any(tmp_path.name.encode() in data for data in now.values())


def test_another_seed_gives_other_patches():
    one, other = tissue.render(SEED, 0), tissue.render(SEED + 1, 0)
    assert not np.array_equal(one.image, other.image)
    assert not np.array_equal(one.slide.stains, other.slide.stains)


def test_files_are_as_patchcamelyon_has_them(made):
    rows = table(made / "truth.csv")
    for split in tissue.SPLITS:
        x, y = patches(made, split)
        assert x.dtype == y.dtype == np.uint8
        assert x.shape[1:] == (96, 96, 3) and y.shape == (len(x), 1, 1, 1) and len(x) > 0
        path = made / f"camelyonpatch_level_2_split_{split}_meta.csv"
        assert path.read_text().startswith(",coord_y,coord_x,tumor_patch,center_tumor_patch,wsi\n0,")
        meta = table(path)
        assert [int(row[""]) for row in meta] == list(range(len(x)))
        assert [row["center_tumor_patch"] for row in meta] == [str(bool(label)) for label in y.ravel()]
        assert all(row["tumor_patch"] == "True" for row in meta if row["center_tumor_patch"] == "True")
        places = {(row["wsi"], row["coord_y"], row["coord_x"]) for row in meta}
        assert len(places) == len(meta)
        here = [row for row in rows if row["split"] == split]
        assert [int(row["index"]) for row in here] == list(range(len(x)))
        assert [row["slide"] for row in here] == [row["wsi"] for row in meta]
        assert [int(row["label"]) for row in here] == y.ravel().tolist()
    assert [int(row["patch"]) for row in rows] == list(range(COUNT))


def test_pixels_in_the_files_are_those_of_the_patches(made, drawn):
    files = {split: patches(made, split)[0] for split in tissue.SPLITS}
    for item in tissue.plan(SEED, COUNT):
        assert np.array_equal(files[item.split][item.row], drawn[item.index].image)


@given(st.integers(0, 2**32 - 1), st.integers(3, 2000))
@settings(max_examples=30, deadline=None)
def test_no_slide_is_in_two_splits(seed, count):
    items = tissue.plan(seed, count)
    split_of = {item.slide: item.split for item in items}
    assert all(split_of[item.slide] == item.split for item in items)
    shares = {split: sum(item.split == split for item in items) / count for split in tissue.SPLITS}
    assert min(shares.values()) > 0
    if count >= 30:
        assert shares == pytest.approx({"train": 0.7, "valid": 0.1, "test": 0.2}, abs=0.12)


def test_half_of_the_patches_are_positive():
    rng = np.random.default_rng(0)
    plots = [tissue_scene.draw_plot(rng) for _ in range(4000)]
    assert np.mean([plot.positive for plot in plots]) == pytest.approx(0.5, abs=0.03)
    assert np.mean([plot.tumour > 0 for plot in plots if not plot.positive]) == pytest.approx(0.15, abs=0.03)


@given(st.integers(0, 2**32 - 1), st.booleans(), st.floats(0.05, 1.0), st.floats(0.15, 0.9))
@settings(max_examples=25, deadline=None)
def test_tumour_is_placed_as_the_label_says(seed, positive, share, depth):
    rng = np.random.default_rng(seed)
    plot = replace(tissue_scene.draw_plot(rng), positive=positive, tumour=share, depth=depth)
    mask = tissue_scene.place_tumour(plot, smooth_noise(rng, plot.nest))
    centre = mask[tissue_scene.CENTRE, tissue_scene.CENTRE].mean()
    if positive:
        assert centre > depth - 0.01 and mask.mean() > share - 0.05
    else:
        assert centre == 0 and mask.mean() < share + 0.05


def test_label_agrees_with_the_mask_of_the_centre(made, drawn):
    rows = table(made / "truth.csv")
    assert {row["label"] for row in rows} == {"0", "1"}
    for row, patch in zip(rows, drawn, strict=True):
        tumour = patch.masks()["tumour"]
        assert tumour[32:64, 32:64].any() == (row["label"] == "1")
        assert tumour.mean() == pytest.approx(float(row["tumour_area"]), abs=0.02)
    masks = tissue.truth_mask(SEED, 3)
    assert {name: (mask.shape, mask.dtype) for name, mask in masks.items()} == {
        "tumour": ((SIZE, SIZE), np.dtype(bool)),
        "nuclei": ((SIZE, SIZE), np.dtype(np.uint16)),
    }
    assert all(np.array_equal(mask, drawn[3].masks()[name]) for name, mask in masks.items())


def test_density_and_area_of_nuclei_agree_with_the_mask(made, drawn):
    covered = expected = 0.0
    for row, patch in zip(table(made / "truth.csv"), drawn, strict=True):
        nuclei, mask = int(row["nuclei"]), patch.masks()["nuclei"]
        seen = set(np.unique(mask)) - {0}
        cut = set(np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]))
        # A nucleus that the border cuts may be centred on either side of it.
        assert len(seen - cut) <= nuclei <= len(seen)
        assert float(row["nuclei_per_mm2"]) == pytest.approx(nuclei / (96 * 0.97e-3) ** 2, rel=1e-4)
        covered += (mask > 0).sum() * PIXEL**2
        expected += nuclei * float(row["nuclear_area_um2"])
    assert covered == pytest.approx(expected, rel=0.04)


def test_nuclei_are_as_large_as_in_a_lymph_node(drawn):
    areas = {kind: [] for kind in (LYMPHOCYTE, TUMOUR)}
    for patch in drawn:
        kinds, area = patch.section.cells.kind, patch.section.area
        for kind, sizes in areas.items():
            sizes.extend(area[(kinds == KINDS.index(kind)) & (area > 0)])
    across = {kind: 2 * np.sqrt(np.median(sizes) / np.pi) for kind, sizes in areas.items()}
    assert 6 < across[LYMPHOCYTE] < 8 and 10 < across[TUMOUR] < 14  # um


def test_tumour_has_larger_and_paler_nuclei(drawn):
    size, light = ({True: [], False: []} for _ in range(2))
    for patch in drawn:
        masks, known = patch.masks(), tissue.measure(patch)
        tumour = bool(masks["tumour"].mean() > 0.9)
        if tumour or not masks["tumour"].any():
            size[tumour].append(known["nuclear_area_um2"])
            light[tumour].append(patch.image[masks["nuclei"] > 0].mean() / patch.slide.white.mean())
    assert min(len(sizes) for sizes in size.values()) >= 5
    assert min(size[True]) > 1.1 * np.median(size[False]) and np.mean(size[True]) > 1.8 * np.mean(size[False])
    assert np.mean(light[True]) > 1.2 * np.mean(light[False])


def angle(one, other):
    return np.degrees(np.arccos(one @ other / np.linalg.norm(one) / np.linalg.norm(other)))


def test_stains_can_be_recovered_from_the_pixels():
    """Least squares with the concentrations known, then without: Macenko et al., ISBI 2009."""
    known, blind = [], []
    for slide in range(8):
        found = [tissue.render(SEED, slide + 10 * k) for k in range(4)]
        truth, white = found[0].slide.stains, found[0].slide.white
        density = np.concatenate([-np.log(np.maximum(patch.image, 1) / white).reshape(-1, 3) for patch in found])
        amount = [patch.section.stain[:, 2:-2, 2:-2].reshape(2, 96, 2, 96, 2).mean((2, 4)) for patch in found]
        amount = np.concatenate([a.reshape(2, -1).T for a in amount])
        solved = np.linalg.lstsq(amount, density, rcond=None)[0]
        known.append([angle(*pair) for pair in zip(solved, truth, strict=True)])

        tissue_only = density[(density > 0.15).all(1)]
        plane = np.linalg.eigh(np.cov(tissue_only.T))[1][:, [2, 1]]
        plane *= np.sign(plane[1])  # towards more absorption of green
        turn = np.arctan2(*(tissue_only @ plane).T[::-1])
        ends = (plane @ [np.cos(t), np.sin(t)] for t in np.percentile(turn, [1, 99]))
        ends = sorted(ends, key=lambda v: -v[0] / np.linalg.norm(v))
        blind.append([angle(*pair) for pair in zip(ends, truth, strict=True)])
        assert angle(*truth) > 10
    assert np.max(known) < 4 and np.mean(known) < 1.5
    assert np.mean(blind) < 4


def test_even_tissue_obeys_beer_and_lambert():
    rng = np.random.default_rng(3)
    slide = replace(tissue_slide.draw_slide(rng), noise=0.0)
    stain = np.stack([np.full((196, 196), 0.7, np.float32), np.full((196, 196), 0.4, np.float32)])
    seen = tissue_slide.scan(slide, stain, rng)
    density = 0.7 * slide.strength[0] * slide.stains[0] + 0.4 * slide.strength[1] * slide.stains[1]
    assert seen.shape == (96, 96, 3) and (seen == np.rint(slide.white * np.exp(-density))).all()
    assert np.linalg.norm(slide.stains, axis=1) == pytest.approx([1, 1])


def test_noise_has_the_mean_and_the_variance_that_it_says():
    rng = np.random.default_rng(0)
    for spacing in (2.6, 16.0):
        fields = np.stack([smooth_noise(rng, spacing) for _ in range(60)])
        assert fields.shape == (60, PLANE, PLANE) and fields.dtype == np.float32
        assert fields.mean() == pytest.approx(0, abs=0.05) and fields.std() == pytest.approx(1, abs=0.05)
        # One lattice step apart points still go together, four steps apart they don't.
        close, far = round(spacing / STEP), round(4 * spacing / STEP)
        assert (fields[:, :, close:] * fields[:, :, :-close]).mean() > 0.2
        assert abs((fields[:, :, far:] * fields[:, :, :-far]).mean()) < 0.1


@given(st.integers(0, 2**32 - 1), st.sampled_from(KINDS), st.floats(0.1, 3.0))
@settings(max_examples=15, deadline=None)
def test_settled_cells_keep_apart_and_leave_no_candidate_out_without_reason(seed, kind, crowding):
    found = tissue_cells.scatter(np.random.default_rng(seed), kind, crowding)
    core = kind.room * found.radius
    gap = np.hypot(*(c[:, None] - c for c in (found.x, found.y))) - core[:, None] - core
    there = []
    for k in range(len(found)):  # random sequential adsorption as its definition has it
        if (gap[k, there] >= 0).all():
            there.append(k)
    assert np.flatnonzero(tissue_cells.settle(found)).tolist() == there


def test_points_belong_to_the_cell_whose_nucleus_is_nearest():
    mosaic = Mosaic()
    mosaic.add(some_cells([40.0, 54.0], [50.0, 50.0]))
    mosaic.add(some_cells([40.0], [48.0], kind=LYMPHOCYTE))  # no room
    assert len(mosaic.cells()) == 2
    centres = (np.arange(PLANE) + 0.5) * STEP
    away = [np.hypot(centres[:, None] - 50.0, centres - x) - 5.0 for x in (40.0, 54.0)]
    own, other = mosaic.nearest()
    near = np.minimum(*away) < TUMOUR.reach - 0.01
    assert np.abs(own - np.minimum(*away))[near].max() < 0.01
    assert (own[np.minimum(*away) > TUMOUR.reach + 0.01] == tissue_cells.FAR).all()
    both = np.maximum(*away) < TUMOUR.reach - 0.01
    assert both.sum() > 20 and np.abs(other - np.maximum(*away))[both].max() < 0.01
    clear = near & (np.abs(away[0] - away[1]) > 0.02)
    assert (mosaic.owner() == (away[1] < away[0]))[clear].all()


@pytest.mark.parametrize("tilt", [0.0, 0.6, 2.0])
def test_nucleus_is_an_ellipse_of_its_axes(tilt):
    mosaic = Mosaic()
    mosaic.add(some_cells([50.0], [52.0], long=9.0, short=4.0, angle=tilt, kind=BLAST))
    row, column = np.nonzero(mosaic.nearest()[0] < 0)
    assert row.size * STEP**2 == pytest.approx(np.pi * 9 * 4, rel=0.02)
    x, y = (column + 0.5) * STEP - 50, (row + 0.5) * STEP - 52
    assert np.abs(x * np.cos(tilt) + y * np.sin(tilt)).max() == pytest.approx(9, abs=0.5)
    assert np.abs(y * np.cos(tilt) - x * np.sin(tilt)).max() == pytest.approx(4, abs=0.5)


def test_spindle_cells_lie_along_the_fibres():
    found = some_cells(np.linspace(20, 80, 50), np.linspace(30, 70, 50), kind=SPINDLE)
    steps = np.arange(PLANE) * STEP
    for across, along in ((steps[:, None] + 0 * steps, 0.0), (steps + 0 * steps[:, None], np.pi / 2)):
        tissue_scene.align(found, across, np.random.default_rng(0))
        assert np.abs(np.sin(found.angle - along)).mean() < 0.15


def test_regions_take_the_share_that_they_are_given():
    field = smooth_noise(np.random.default_rng(0), 16.0)
    for share in (0.0, 0.2, 0.7):
        assert tissue_scene.highest(field, share).mean() == pytest.approx(share, abs=0.02)
        assert tissue_scene.middle(field, share).mean() == pytest.approx(share, abs=0.02)


def test_every_region_occurs_and_shares_add_up(made):
    rows = table(made / "truth.csv")
    shares = np.array([[float(row[f"{region.name.lower()}_area"]) for region in Region] for row in rows])
    assert shares.sum(1) == pytest.approx(np.ones(COUNT), abs=1e-3)
    assert (shares.max(0) > 0.1).all()


def test_colours_are_near_those_of_real_lymph_nodes(shared_data, drawn):
    folder = shared_data / "histo" / "camelyon16-96"
    real = [
        [np.asarray(Image.open(folder / "images_resized" / f"{row['id']}.png").convert("RGB")) for row in rows]
        for rows in [[r for r in table(folder / "labels_resized.csv") if r["label"] == label] for label in "01"]
    ]
    ours = [
        [patch.image for patch in drawn if patch.masks()["tumour"][32:64, 32:64].any() == label] for label in (0, 1)
    ]
    for a, b in zip(real, ours, strict=True):
        assert np.mean(b, axis=(0, 1, 2)) == pytest.approx(np.mean(a, axis=(0, 1, 2)), abs=25)
        assert np.std(b, axis=(0, 1, 2)) == pytest.approx(np.std(a, axis=(0, 1, 2)), abs=20)


@pytest.mark.parametrize("wrong", [{"count": 2}, {"workers": 0}])
def test_too_few_patches_or_workers_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match="at least"):
        tissue.generate(tmp_path, **({"count": 3, "seed": 0, "workers": 1} | wrong))
    assert not list(tmp_path.iterdir())


def test_negative_index_is_refused():
    with pytest.raises(ValueError, match="negative"):
        tissue.truth_mask(SEED, -1)

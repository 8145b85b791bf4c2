import gzip
import hashlib
from collections.abc import Sequence
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, ornt_transform

from scansynth.config import Settings
from scansynth.dataset import Dataset
from scansynth.prepare.decoded import Image, RejectedError, Rejection
from scansynth.prepare.items import File, Item, Label
from scansynth.prepare.readers import nifti
from scansynth.prepare.readers.volume import Volume, choose, levels, same_grid
from scansynth.sections import Images, Slices

SIDE = 64  # as many pixels as the smallest images have, so that nothing is resized
NAME = b"Doe^Jane"
ORIENTATIONS = ["".join(code) for sides in permutations(["RL", "AP", "SI"]) for code in product(*sides)]


def phantom() -> np.ndarray:
    """A head (right, anterior, superior) of 1 mm voxels, with a bright block at its left, front and top side each."""
    x, y, z = np.mgrid[:SIDE, :SIDE, :SIDE]
    head = ((x - 31.5) / 26) ** 2 + ((y - 31.5) / 30) ** 2 + ((z - 31.5) / 28) ** 2 < 1
    values = np.where(head, 400, 0).astype(np.int16)
    values[8:14, 28:36, 28:36] = 600  # left
    values[28:36, 50:60, 28:36] = 800  # anterior
    values[28:36, 28:36, 50:58] = 1000  # superior
    return values


def image(values: np.ndarray, affine=None, kind=nib.Nifti1Image) -> nib.spatialimages.SpatialImage:
    made = kind(values, np.eye(4) if affine is None else affine)
    if isinstance(made.header, nib.Nifti1Header):
        made.header["descrip"] = NAME
    return made


def turned(made: nib.Nifti1Image, code: str) -> nib.Nifti1Image:
    return made.as_reoriented(ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(code)))


def settings(images=None, dataset=None, **slices) -> Settings:
    registered = {"title": "t", "layout": "nifti_folder", "licence": "", "citation": "", "address": ""}
    return Settings(
        dataset=Dataset(**registered | (dataset or {})),
        images=Images(**{"size": SIDE} | (images or {})),
        slices=Slices(**slices),
    )


@pytest.fixture
def read(tmp_path):
    """Read files, given by role as images or bytes, as one item."""

    def run(files, **wanted) -> list[Image | Rejection]:
        listed = []
        for role, made in files.items():
            content = made if isinstance(made, bytes) else gzip.compress(made.to_bytes(), 1)
            (tmp_path / f"{role}.nii.gz").write_bytes(content)
            listed.append(File(f"{role}.nii.gz", len(content), hashlib.sha256(content).hexdigest(), role))
        item = Item("i", "nifti", tuple(listed), Label("p"))
        return list(nifti.read(tmp_path, item, settings(**wanted)))

    def rejection(files, **wanted) -> str:
        with pytest.raises(RejectedError) as caught:
            run(files, **wanted)
        assert "Doe" not in str(caught.value)
        return str(caught.value)

    run.rejection = rejection
    return run


def centre(pixels: np.ndarray, value: int) -> tuple[float, float]:
    """Row and column of the middle of what has a value."""
    rows, columns = np.nonzero(pixels == value)
    return rows.mean(), columns.mean()


@pytest.mark.parametrize(
    ("roles", "channels", "declared", "view"),
    [
        (["t1"], "gray", [], "t1"),
        ([""], "gray", [], "coronal"),  # a name that says no contrast
        (["t1"], ["t1"], [], "coronal"),  # the same contrast for all the store
        (["t1", "t2"], ["t1", "t2"], [], "coronal"),
        (["t1"], "gray", ["axial", "coronal"], "coronal"),
        (["t1"], "gray", ["t1", "t2"], "t1"),
    ],
)
def test_the_view_is_the_plane_or_the_contrast_where_volumes_may_differ_in_it(read, roles, channels, declared, view):
    images = {"channels": channels, "window": (500, 1000)}
    made = read(dict.fromkeys(roles, image(phantom())), axis="coronal", images=images, dataset={"views": declared})
    assert {each.view for each in made} == {view}


@pytest.mark.parametrize("code", ["RAS", "LPS", "PSR", "LIA", "ASL", "IRP"])
def test_slices_are_shown_as_radiologists_see_them(read, code):
    scan = turned(image(phantom()), code)
    seen = {}
    for axis, letter in (("axial", "z"), ("coronal", "y"), ("sagittal", "x")):
        images = read({"t1": scan}, axis=axis, images={"window": (500, 1000)})
        seen[axis] = {made.suffix: made.pixels[0] for made in images}[f"_{letter}032"]
    left, anterior, superior = (round(255 * value / 1000) for value in (600, 800, 1000))
    # Of 0 to 63: blocks that begin 8 from a side of the head have their middle 10.5 from it.
    assert centre(seen["axial"], left) == (63 - 31.5, 63 - 10.5)  # at the right
    assert centre(seen["axial"], anterior) == (63 - 54.5, 63 - 31.5)  # at the top
    assert centre(seen["coronal"], left) == (63 - 31.5, 63 - 10.5)
    assert centre(seen["coronal"], superior) == (63 - 53.5, 63 - 31.5)
    assert centre(seen["sagittal"], anterior) == (63 - 31.5, 63 - 54.5)  # at the left
    assert centre(seen["sagittal"], superior) == (63 - 53.5, 63 - 31.5)


@pytest.mark.parametrize("code", ORIENTATIONS)
def test_any_orientation_gives_the_same_volume(code):
    assert len(set(ORIENTATIONS)) == 48
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = -7, 5, 11
    original = image(np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6), affine)
    volume = nifti.decode(turned(original, code).to_bytes()).volume()
    np.testing.assert_array_equal(volume.stored, original.get_fdata())
    np.testing.assert_allclose(volume.affine, affine)
    assert [volume.spacing(axis) for axis in range(3)] == [(3, 2), (3, 1), (2, 1)]


def test_oblique_volumes_are_cut_along_their_nearest_axes(read):
    angle = np.radians(20)
    affine = np.eye(4)
    affine[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    straight, oblique = (read({"t1": image(phantom(), each)}) for each in (np.eye(4), affine))
    for one, other in zip(straight, oblique, strict=True):
        assert one.suffix == other.suffix
        np.testing.assert_array_equal(one.pixels, other.pixels)


def test_voxels_that_are_no_cubes_do_not_stretch_the_picture(read):
    """A ball of 40 mm in voxels of 1 x 2 x 4 mm."""
    x, y, z = np.mgrid[:80, :40, :20]
    ball = ((x - 39.5) ** 2 + (2 * y - 39) ** 2 + (4 * z - 38) ** 2 < 20**2) * np.int16(100)
    for axis in ("axial", "coronal", "sagittal"):
        images = read({"": image(ball, np.diag([1, 2, 4, 1]))}, axis=axis)
        middle = images[len(images) // 2]
        rows, columns = np.nonzero(middle.pixels[0] > 127)
        assert middle.spacing == pytest.approx(80 / 64)
        assert np.ptp(rows) + 1 == pytest.approx(40 * 64 / 80, abs=3.2)  # a voxel of 4 mm
        assert np.ptp(columns) + 1 == pytest.approx(40 * 64 / 80, abs=3.2)


def test_formats_give_the_same(read):
    scan = phantom()
    expected = [made.pixels for made in read({"t1": image(scan)})]
    nifti2 = image(scan, kind=nib.Nifti2Image)
    mgh = image(scan, kind=nib.MGHImage)
    big_endian = nib.Nifti1Image.from_bytes(image(scan).to_bytes())
    big_endian = nib.Nifti1Image(scan, np.eye(4), big_endian.header.as_byteswapped())
    singleton = image(scan[..., None])
    for made in (image(scan).to_bytes(), nifti2, nifti2.to_bytes(), mgh, mgh.to_bytes(), big_endian, singleton):
        np.testing.assert_array_equal([each.pixels for each in read({"t1": made})], expected)


def test_several_volumes_in_time_have_their_own_suffix(read):
    scan = np.stack([phantom(), phantom() // 2, phantom() * 2], axis=-1)
    images = read({"bold": image(scan)}, every_mm=20)
    assert [made.suffix for made in images[:3]] == ["_t000_z020", "_t000_z040", "_t001_z020"]
    np.testing.assert_array_equal(images[0].pixels, images[2].pixels)  # each has its own levels
    single, mask = image(phantom()), image(np.zeros_like(scan))
    assert read.rejection({"t1": single, "bold": image(scan)}, images={"channels": ("t1", "bold")}).startswith(
        "bold: 3 volumes in time"
    )
    assert read.rejection({"t1": single, "mask": mask}).startswith("mask: 3 volumes in time")


def test_slices_of_a_volume_keep_their_relative_brightness(read):
    fading = phantom() * np.linspace(0.25, 0.75, SIDE)
    by_suffix = {made.suffix: made.pixels[0, 10, 31] for made in read({"t1": image(fading.astype(np.float32))})}
    bright, dark = by_suffix["_z042"], by_suffix["_z021"]
    assert dark / bright == pytest.approx(fading[32, 52, 21] / fading[32, 52, 42], abs=0.01)
    assert 50 < dark < bright < 255


def scaled(stored: np.ndarray, slope: float, intercept: float) -> bytes:
    """A file of stored values with a slope and an intercept; the library would work out its own."""
    content = bytearray(image(stored).to_bytes())
    content[112:120] = np.array([slope, intercept], "<f4").tobytes()
    return bytes(content)


@pytest.mark.parametrize("slope, intercept", [(2.0, -1024.0), (-1.0, 3000.0), (0.25, 0.0)])
def test_slope_and_intercept_are_honoured(slope, intercept):
    stored = phantom()
    window = (slope * 500 + intercept, 1000 * abs(slope))
    volume = nifti.decode(scaled(stored, slope, intercept)).volume()
    assert volume.stored.dtype == np.int16
    np.testing.assert_allclose(volume.plane(2, 32), (stored[::-1, ::-1, 32].T) * slope + intercept)
    unit = levels(volume, window).unit(volume.scaled(np.array([250, 750])))
    np.testing.assert_allclose(unit, [0.25, 0.75] if slope > 0 else [0.75, 0.25])


@pytest.mark.parametrize("slope, intercept", [(np.nan, np.nan), (0.0, 0.0), (1.0, 0.0)])
def test_no_slope_leaves_values_as_they_are(slope, intercept):
    np.testing.assert_array_equal(nifti.decode(scaled(phantom(), slope, intercept)).volume().values(), phantom())


def volume(values: np.ndarray) -> Volume:
    return Volume(np.asarray(values), np.eye(4))


def test_levels_ignore_a_few_outliers():
    values = phantom().astype(np.float32)
    plain = levels(volume(values))
    values[0, 0, :5], values[32, 32, :5] = -1e6, 1e6
    assert levels(volume(values)) == plain
    assert (plain.black, plain.white) == (0, 1000)
    np.testing.assert_allclose(plain.unit(np.array([-5, 0, 500, 1000, 2000])), [0, 0, 0.5, 1, 1])


def test_noise_in_the_air_is_no_foreground():
    noise = np.random.default_rng(0).rayleigh(10, (SIDE,) * 3)
    values = phantom() + noise
    found = levels(volume(values)).foreground(values)
    assert np.mean(found != (phantom() > 0)) < 0.001


def test_values_around_zero_with_a_mask_outside():
    """z-scores of a skull-stripped head: the zeros around it are not of middle brightness, but black."""
    head = phantom() > 0
    values = np.where(head, np.random.default_rng(0).normal(0, 1, head.shape), 0).astype(np.float32)
    shown = levels(volume(values))
    assert shown.outside == 0
    assert shown.black < -2 < 2 < shown.white
    assert not shown.unit(values)[~head].any()
    assert shown.unit(values)[head].mean() == pytest.approx(0.5, abs=0.05)
    assert not shown.foreground(values)[~head].any()


def test_values_that_are_not_finite():
    values = phantom().astype(np.float32)
    plain = levels(volume(values))
    values[:2], values[-1, -1, -1] = np.nan, np.inf  # 3%
    shown = levels(volume(values))
    assert shown.white == plain.white
    assert not shown.unit(values)[:2].any()
    assert shown.unit(values)[-1, -1, -1] == 0
    values[:4] = np.nan
    with pytest.raises(RejectedError, match="6% of its voxels are not finite"):
        levels(volume(values))
    with pytest.raises(RejectedError, match="100% of its voxels"):
        levels(volume(np.full((9, 9, 9), np.nan)))


def test_window_in_hounsfield_units(read):
    """Air, water and bone of a CT in a window of -100 to 300 HU."""
    values = np.where(phantom() > 0, 0, -1024).astype(np.int16)
    values[phantom() == 800] = 1200
    shown = next(made for made in read({"ct": image(values)}, images={"window": (100, 400)}) if made.suffix == "_z032")
    assert shown.pixels[0, 0, 0] == 0
    assert shown.pixels[0, 32, 32] == round(255 * 100 / 400)
    assert shown.pixels[0, 8, 32] == 255


def chosen(values: np.ndarray, **slices) -> list[int]:
    return choose([volume(values)], [levels(volume(values))], Slices(**slices))


def test_choice_of_slices():
    cone = np.zeros((20, 20, 40), np.int16)
    for z in range(5, 35):
        side = min(20, z - 4)  # 1 to 20
        cone[:side, :20, z] = 100
    assert chosen(cone, foreground=0) == list(range(5, 35))  # never those without any
    assert chosen(cone, foreground=0.5) == list(range(14, 35))
    assert chosen(cone, foreground=1) == list(range(24, 35))
    assert chosen(cone, range=(0.25, 0.75)) == list(range(10, 30))
    assert chosen(cone, foreground=0, range=(0.9, 1)) == []
    assert chosen(cone, foreground=0, range=(0.501, 0.502)) == []
    assert chosen(cone, range=(0.25, 0.75), every_mm=4) == [10, 14, 18, 22, 26]
    assert chosen(cone, range=(0.25, 0.75), every_mm=2.5) == [10, 13, 15, 18, 20, 23, 25, 28]
    assert chosen(cone, range=(0.25, 0.75), every_mm=0.1) == list(range(10, 30))
    assert chosen(cone, axis="sagittal") == list(range(20))


def test_every_contrast_has_to_show_something():
    one, other = np.zeros((2, 10, 10, 10), np.int16)
    one[2:8, 2:8, :8], other[2:8, 2:8, 4:] = 100, 100
    volumes = [volume(one), volume(other)]
    assert choose(volumes, [levels(each) for each in volumes], Slices()) == [4, 5, 6, 7]


def test_channels_are_the_contrasts_asked_for(read):
    t1, t2 = image(phantom()), image((1000 - phantom()) * (phantom() > 0))
    both = {"t1": t1, "t2": t2}
    first, second = (read({"t": each}) for each in both.values())
    for made, one, other in zip(read(both, images={"channels": ("t2", "t1")}), first, second, strict=True):
        np.testing.assert_array_equal(made.pixels, np.concatenate([other.pixels, one.pixels]))
    alone = read(both, images={"channels": ("t1",)})
    np.testing.assert_array_equal([made.pixels for made in alone], [made.pixels for made in first])
    assert "its contrasts are t1, t2, and images.channels is gray" in read.rejection(both)
    assert "it lacks flair, pd" in read.rejection(both, images={"channels": ("t1", "flair", "pd")})
    assert "no colours" in read.rejection({"t1": t1}, images={"channels": "rgb"})
    assert "its contrasts are none" in read.rejection({"mask": t1})


def shift(millimetres: float) -> np.ndarray:
    affine = np.eye(4)
    affine[0, 3] = millimetres
    return affine


def test_grids_are_the_same_to_a_tenth_of_a_voxel():
    grid = Volume(phantom(), np.eye(4))
    assert same_grid(grid, Volume(phantom(), shift(0.09)))
    assert not same_grid(grid, Volume(phantom(), shift(0.11)))
    assert not same_grid(grid, Volume(phantom(), np.diag([1.01, 1, 1, 1])))  # 0.6 mm at the far corner
    assert not same_grid(grid, Volume(phantom()[1:], np.eye(4)))


def test_contrasts_on_other_grids_are_refused_or_registered(read):
    shifted = shift(0.5)
    files = {"t1": image(phantom()), "t2": image(phantom(), shifted)}
    channels = {"channels": ("t1", "t2")}
    assert "set slices.registration to rigid" in read.rejection(files, images=channels)
    images = read(files, images=channels, registration="rigid", every_mm=16)
    for made in images:
        assert np.abs(made.pixels[0].astype(int) - made.pixels[1]).mean() < 3


def tumour_mask(values: Sequence[tuple[int, int]]) -> np.ndarray:
    """So many voxels of label 4 in those slices."""
    mask = np.zeros((SIDE,) * 3, np.uint8)
    for z, count in values:
        mask[30:50, 32, z].reshape(-1)[:count] = 4
    return mask


TUMOUR = {"findings": ("No Tumour", "Tumour"), "no_finding": "No Tumour"}


def test_masks_and_their_findings(read):
    files = {"t1": image(phantom()), "mask": image(tumour_mask([(30, 20), (31, 19), (32, 1)]))}
    images = {made.suffix: made for made in read(files, dataset=TUMOUR)}
    assert images["_z030"].findings == ("Tumour",)
    assert images["_z029"].findings == ("No Tumour",)
    assert not {"_z031", "_z032"} & images.keys()  # 19 and 1 mm2: neither with a tumour nor surely without
    np.testing.assert_array_equal(np.unique(images["_z030"].mask), [0, 4])
    assert np.argwhere(images["_z030"].mask).tolist() == [[31, column] for column in range(14, 34)]
    assert not images["_z029"].mask.any()
    # A data set that declares no findings, or several, says nothing by its mask.
    for dataset in ({}, {"findings": ("No Finding", "Nodule", "Mass"), "no_finding": "No Finding"}):
        images = {made.suffix: made for made in read(files, dataset=dataset)}
        assert images["_z031"].findings is None
        assert np.count_nonzero(images["_z031"].mask) == 19
    assert {made.findings for made in read({"t1": files["t1"]}, dataset=TUMOUR)} == {None}


def test_mask_on_another_grid_goes_to_the_nearest_voxel(read):
    """A mask of 2 mm voxels, in another orientation."""
    coarse = np.zeros((32, 32, 32), np.uint8)
    coarse[10:14, 16:20, 15:17] = 3
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = 0.5  # the corners of the first voxels meet
    mask = turned(image(coarse, affine), "LPS")
    images = {made.suffix: made for made in read({"t1": image(phantom()), "mask": mask})}
    expected = np.repeat(np.repeat(coarse[:, :, 16], 2, 0), 2, 1)[::-1, ::-1].T
    np.testing.assert_array_equal(images["_z032"].mask, expected)
    assert not images["_z029"].mask.any()


@pytest.mark.parametrize("value", [0.5, -1, 256, np.nan])
def test_mask_of_no_labels(read, value):
    mask = np.zeros((SIDE,) * 3, np.float32)
    mask[:, :, 32] = value
    assert "mask: it holds other values" in read.rejection({"t1": image(phantom()), "mask": image(mask)})


def no_orientation() -> bytes:
    made = image(phantom())
    made.header["qform_code"] = made.header["sform_code"] = 0
    content = bytearray(made.to_bytes())
    content[252:256] = bytes(4)
    return bytes(content)


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "not a NIfTI or MGH file"),
        (b"Doe^Jane " * 100, "not a NIfTI or MGH file"),
        (gzip.compress(b"Doe^Jane " * 100, mtime=0), "not a NIfTI or MGH file"),
        (image(phantom()).to_bytes()[:-1], "damaged"),
        (gzip.compress(image(phantom()).to_bytes())[:-9], "damaged"),
        (no_orientation(), "neither its qform nor its sform"),
        (image(phantom()[:, :, 0]).to_bytes(), "of 2 dimensions"),
        (image(np.zeros((8, 8, 8, 1, 3), np.float32)).to_bytes(), "of 5 dimensions"),
        (image(np.ones((8, 8, 8), np.complex64)).to_bytes(), "in colour or complex"),
        (image(np.zeros((8, 8, 8), [("R", "u1"), ("G", "u1"), ("B", "u1")])).to_bytes(), "in colour or complex"),
        (image(np.zeros((8, 8, 8), np.int16)).to_bytes(), "blank"),
    ],
)
def test_rejected_with_a_reason(read, content, reason):
    message = read.rejection({"t1": content})
    assert message.startswith("t1: ")
    assert reason in message


def test_checksum_of_gzip_is_checked(read):
    content = bytearray(gzip.compress(image(phantom()).to_bytes(), 0))  # stored as it is, so a change decodes
    content[len(content) // 2] ^= 1
    assert "damaged" in read.rejection({"t1": bytes(content)})


def test_rejected_wherever_it_is_cut(read):
    plain = image(phantom()[::8, ::8, ::8]).to_bytes()
    for content in (plain, gzip.compress(plain)):
        for length in (*range(0, len(content), len(content) // 20), len(content) - 1):
            assert read.rejection({"t1": content[:length]})


def test_any_damage_is_a_rejection_or_images(read):
    content = np.frombuffer(image(phantom()[::4, ::4, ::4]).to_bytes(), np.uint8)
    random = np.random.default_rng(0)
    outcomes = set()
    for _ in range(200):
        damaged = content.copy()
        damaged[random.integers(0, 352, 4)] = random.integers(0, 256, 4)
        try:
            outcomes.add(type(read({"t1": damaged.tobytes()}, every_mm=8)[0]))
        except RejectedError as rejected:
            assert "Doe" not in str(rejected)
            outcomes.add(RejectedError)
    assert outcomes == {Image, RejectedError}


def test_blank_slice_is_rejected_alone(read):
    values = phantom()
    values[:, :, 32] = 0
    values[0, 0, 32] = 300  # outside the window, so black with the rest
    images = read({"t1": image(values)}, images={"window": (550, 400)}, foreground=0)
    assert [made for made in images if isinstance(made, Rejection)] == [
        Rejection("_z032", "blank: (nearly) all pixels have the same value")
    ]
    assert "no slice of it" in read.rejection({"t1": image(phantom())}, range=(0, 0.01))


def test_units_other_than_millimetres(read):
    made = image(phantom(), np.diag([0.001, 0.001, 0.001, 1]))
    made.header.set_xyzt_units("meter")
    assert read({"t1": made})[0].spacing == pytest.approx(1)


def test_files_that_nibabel_ships(tmp_path):
    """Each gives images or a plain reason."""
    root = Path(nib.__file__).parent / "tests" / "data"
    if not root.is_dir():
        pytest.skip("nibabel was installed without its test data")
    kinds = (".nii", ".nii.gz", ".mgz", ".hdr", ".PAR", ".mnc", ".BRIK", ".trk")
    counts = {}
    for path in sorted(path for path in root.iterdir() if path.name.endswith(kinds)):
        content = path.read_bytes()
        file = File(path.name, len(content), hashlib.sha256(content).hexdigest())
        try:
            item = Item("i", "nifti", (file,), Label("p"))
            counts[path.name] = len(list(nifti.read(root, item, settings(foreground=0))))
        except RejectedError as rejected:
            counts[path.name] = str(rejected)
    assert counts["anatomical.nii"] == 25
    assert counts["example4d.nii.gz"] == 2 * 24
    assert counts["example_nifti2.nii.gz"] == 2 * 12
    assert counts["functional.nii"] == 20 * 3
    assert counts["test.mgz"] == 2 * 3
    assert "not finite" in counts["resampled_anat_moved.nii"]
    assert "6 dimensions" in counts["row_major.dconn.nii"]
    assert counts["tiny.mnc"] == "not a NIfTI or MGH file"


def test_real_volumes(shared_data):
    """Three grids and orientations of one patient: refused together, read one by one."""
    root = shared_data / "nifti-brain" / "tcga-lgg" / "TCGA-DU-7294" / "native"
    if not root.is_dir():
        pytest.skip("needs shared/data/nifti-brain")
    files = []
    for role, name in (("t1", "t1"), ("flair", "fla")):
        path = root / f"TCGA-DU-7294_hdbet_native_{name}.nii.gz"
        content = path.read_bytes()
        files.append(File(path.name, len(content), hashlib.sha256(content).hexdigest(), role))
    item = Item("i", "nifti", tuple(files), Label("p"))
    with pytest.raises(RejectedError, match="t1 and flair are on different grids"):
        list(nifti.read(root, item, settings({"channels": ("t1", "flair")})))
    for role, least in (("t1", 20), ("flair", 40)):
        images = list(nifti.read(root, item, settings({"channels": (role,)})))
        assert len(images) > least
        assert all(isinstance(made, Image) and made.spacing == pytest.approx(240 / SIDE) for made in images)

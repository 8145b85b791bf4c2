import functools
import hashlib
import io
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydicom import dcmread, dcmwrite
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from scansynth.config import Settings
from scansynth.prepare.decoded import Decoded, Image, RejectedError, Rejection
from scansynth.prepare.items import File, Item, Label
from scansynth.prepare.normalize import limits
from scansynth.prepare.readers import dicom, dicom_display, dicom_pixels
from scansynth.prepare.readers.dicom_file import parse

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
STORED = np.array([[0, 10], [20, 30]], dtype=np.uint16)


def decode(content: bytes, index: int = 0, window=None) -> Decoded:
    header = parse(io.BytesIO(content))
    assert index < dicom.count(header)
    return dicom.decode(header, index, window)


@pytest.fixture
def decoded(dicom_bytes):
    return lambda dataset, index=0, window=None: decode(dicom_bytes(dataset), index, window)


def images(size: int = 64, **values) -> Settings:
    dataset = {"title": "t", "layout": "dicom_folder", "licence": "n", "citation": "n", "address": "n"}
    return Settings.model_validate({"dataset": dataset, "images": {"size": size, **values}})


def item(root: Path, *names: str) -> Item:
    files = [File(name, (root / name).stat().st_size, sha256((root / name).read_bytes())) for name in names]
    return Item("item", "dicom", tuple(files), Label("p"))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def noise(seed: int, shape=(40, 50), dtype=np.uint16, high: int = 4096) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, shape).astype(dtype)


# The grayscale pipeline


def test_rescale_then_window_then_inversion(make_dicom, decoded):
    """Rescaled: -10, 10, 30, 50. Window, LINEAR, centre 20.5 and width 41: black at 0, white at 40. Then inverted."""
    attributes = {"RescaleSlope": 2, "RescaleIntercept": -10, "WindowCenter": 20.5, "WindowWidth": 41}
    gray = decoded(make_dicom(STORED, PhotometricInterpretation="MONOCHROME1", **attributes))
    np.testing.assert_allclose(gray.values, [[[1, 0.75], [0.25, 0]]])
    assert gray.span == (0, 1)
    assert gray.values.dtype == np.float32


def test_inversion_without_window_keeps_the_range(make_dicom, decoded):
    gray = decoded(make_dicom(STORED, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(gray.values, [[[30, 20], [10, 0]]])
    assert gray.span is None


def test_window_functions():
    values = np.array([-1.0, 0, 50, 100, 101])
    window = dicom_display.window
    np.testing.assert_allclose(window(values, 50, 100, "LINEAR_EXACT"), [0, 0, 0.5, 1, 1])
    np.testing.assert_allclose(window(values, 50, 100, "SIGMOID")[1:4], [1 / (1 + np.e**2), 0.5, 1 / (1 + np.e**-2)])
    np.testing.assert_array_equal(window(np.array([0.0, 1, 2]), 1, 1), [0, 1, 1])  # a step
    # LINEAR with centre 128 and width 256 leaves 8 bits as they are (PS3.3 C.11.2.1.2.1).
    np.testing.assert_allclose(window(np.arange(256.0), 128, 256) * 255, np.arange(256), atol=1e-9)


@pytest.mark.parametrize("center, width", [(15, 0), (15, -5), (5000, 10), (-5000, 10), ([], []), (None, 10)])
def test_absurd_window_is_ignored(make_dicom, decoded, center, width):
    attributes = {key: value for key, value in (("WindowCenter", center), ("WindowWidth", width)) if value is not None}
    gray = decoded(make_dicom(STORED, **attributes))
    np.testing.assert_array_equal(gray.values, STORED[None])
    assert gray.span is None


def test_window_that_is_no_number_is_ignored(make_dicom, dicom_bytes):
    content = dicom_bytes(make_dicom(STORED, WindowCenter=1234, WindowWidth=3, PixelSpacing=[2345, 2345]))
    assert b"1234" in content and b"2345" in content
    gray = decode(content.replace(b"1234", b"wide").replace(b"2345", b"fine"))
    np.testing.assert_array_equal(gray.values, STORED[None])
    assert gray.spacing is None


def test_first_of_several_windows(make_dicom, decoded):
    gray = decoded(make_dicom(STORED, WindowCenter=[15.5, 1000], WindowWidth=[31, 1]))
    np.testing.assert_allclose(gray.values[0], STORED / 30, atol=1e-7)


def test_the_window_that_is_asked_for_comes_first(make_dicom, decoded):
    """It is in the units after the rescale, and MONOCHROME1 is inverted within it."""
    attributes = {"RescaleSlope": 2, "RescaleIntercept": -10, "WindowCenter": 20.5, "WindowWidth": 41}
    gray = decoded(make_dicom(STORED, **attributes), window=(10, 40))
    assert gray.span == (-10, 30)
    np.testing.assert_array_equal(gray.values, [[[-10, 10], [30, 50]]])
    inverted = decoded(make_dicom(STORED, PhotometricInterpretation="MONOCHROME1", **attributes), window=(10, 40))
    assert inverted.span == (-10, 30)
    np.testing.assert_array_equal(inverted.values, [[[30, 10], [-10, -30]]])


@pytest.mark.parametrize(
    "attributes, span",
    [
        ({"Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": -1024}, (-1000, 1000)),
        ({"Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"}, (-1000, 1000)),
        ({"Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": 0, "RescaleType": "US"}, None),
        ({"Modality": "CT"}, None),
        ({"Modality": "MR", "RescaleSlope": 1, "RescaleIntercept": 0}, None),
    ],
)
def test_ct_without_window_is_shown_in_hounsfield_units(make_dicom, decoded, attributes, span):
    gray = decoded(make_dicom(STORED, **attributes))
    np.testing.assert_array_equal(gray.values[0], STORED.astype(float) + attributes.get("RescaleIntercept", 0))
    assert gray.span == span


def lut(entries: list[int], first: int, bits: int) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item.add_new("LUTData", "US", entries)
    return item


def test_modality_lut_then_voi_lut_before_window(make_dicom, decoded):
    """0, 10, 20, 30 are, from 10 on: 5, 5, 6, 6 (beyond the ends: the end); 5 and 6 are shown as 7 and 9."""
    ds = make_dicom(STORED, WindowCenter=1, WindowWidth=2)
    ds.ModalityLUTSequence = [lut([5] * 10 + [6], 10, 8)]
    ds.VOILUTSequence = [lut([7, 9], 5, 8)]
    gray = decoded(ds)
    np.testing.assert_array_equal(gray.values, [[[7, 7], [9, 9]]])
    assert gray.span == (7, 9)


def test_lut_of_8_bits_with_more_than_256_entries(make_dicom, decoded):
    stored = np.array([[0, 1000], [2000, 4095]], dtype=np.uint16)
    ds = make_dicom(stored, VOILUTSequence=[lut([i // 16 for i in range(4096)], 0, 8)])
    np.testing.assert_array_equal(decoded(ds).values[0], stored // 16)


def test_lut_whose_first_value_is_negative(make_dicom, decoded):
    """Of signed pixels, and of unsigned ones that a rescale makes negative: there it is written as if unsigned."""
    signed = make_dicom(np.array([[-3, -2], [-1, 0]], np.int16), VOILUTSequence=[lut([4, 5, 6], -2, 8)])
    rescaled = make_dicom(np.array([[0, 1], [2, 3]], np.uint16), VOILUTSequence=[lut([4, 5, 6], 2**16 - 2, 8)])
    rescaled.RescaleIntercept = -3
    for ds in (signed, rescaled):
        np.testing.assert_array_equal(decoded(ds).values, [[[4, 4], [5, 6]]])


@pytest.mark.parametrize("padding", [-2000, -2000 + 2**16])  # as it should be, and as if the pixels were unsigned
@pytest.mark.parametrize("interpretation, shown", [("MONOCHROME2", 5), ("MONOCHROME1", 5)])
def test_padding_takes_the_darkest_value(make_dicom, decoded, padding, interpretation, shown):
    ds = make_dicom(np.array([[-2000, 5], [6, 7]], dtype=np.int16), PhotometricInterpretation=interpretation)
    ds.add_new("PixelPaddingValue", "SS" if padding < 0 else "US", padding)
    values = decoded(ds).values
    assert values[0, 0, 0] == shown == values.min()
    assert values.max() == 7


def test_padding_may_be_a_range(make_dicom, decoded):
    ds = make_dicom(STORED, PixelPaddingValue=0, PixelPaddingRangeLimit=10)
    np.testing.assert_array_equal(decoded(ds).values, [[[20, 20], [20, 30]]])


@settings(max_examples=40, deadline=None)
@given(
    stored=arrays(st.sampled_from([np.uint8, np.uint16, np.int16, np.uint32]), (7, 9), elements=st.integers(0, 120)),
    slope=st.floats(0.01, 50),
    intercept=st.floats(-3000, 3000),
    window=st.none() | st.tuples(st.floats(-3000, 3000), st.floats(1, 5000)),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    interpretation=st.sampled_from(["MONOCHROME1", "MONOCHROME2"]),
)
def test_shown_in_order_and_in_range(stored, slope, intercept, window, function, interpretation):
    """More is never shown darker (MONOCHROME1: brighter), whatever the header asks for."""
    ds = Dataset()
    ds.PhotometricInterpretation, ds.VOILUTFunction = interpretation, function
    ds.RescaleSlope, ds.RescaleIntercept = f"{slope:.6g}", f"{intercept:.6g}"
    if window:
        ds.WindowCenter, ds.WindowWidth = f"{window[0]:.6g}", f"{window[1]:.6g}"
    values, span = dicom_display.show(stored, ds)
    steps = np.diff(values.ravel()[np.argsort(stored.ravel(), kind="stable")])
    assert (steps >= 0 if interpretation == "MONOCHROME2" else steps <= 0).all()
    try:
        low, high = limits(Decoded(values[None], span))
    except RejectedError:  # blank
        return
    if span == (0, 1):
        assert values.min() >= 0 and values.max() <= 1
    assert low < high


@settings(max_examples=30, deadline=None)
@given(
    stored=arrays(np.uint16, (5, 6), elements=st.integers(0, 4095)),
    window=st.none() | st.tuples(st.integers(-500, 4500), st.integers(2, 5000)),
)
def test_shown_alike_in_either_photometric_interpretation(stored, window):
    """What is stored the other way round, with its window mirrored, is the same picture."""
    direct, mirrored = Dataset(), Dataset()
    direct.PhotometricInterpretation, mirrored.PhotometricInterpretation = "MONOCHROME2", "MONOCHROME1"
    other = (int(stored.min()) + int(stored.max()) - stored.astype(int)).astype(np.uint16)
    if window:
        center, direct.WindowWidth = window
        direct.WindowCenter, mirrored.WindowWidth = center, direct.WindowWidth
        mirrored.WindowCenter = int(stored.min()) + int(stored.max()) - center + 1
    values, span = dicom_display.show(stored, direct)
    mirrored_values, mirrored_span = dicom_display.show(other, mirrored)
    assert span == mirrored_span
    np.testing.assert_allclose(mirrored_values, values, atol=1e-5)


# Encodings


def encode(dataset, syntax, meta: bool = True) -> bytes:
    buffer = io.BytesIO()
    if syntax.is_encapsulated:
        dataset.compress(syntax, generate_instance_uid=False)
    elif not syntax.is_little_endian:
        words = np.frombuffer(dataset.PixelData, "<u2")  # of 8 bits there are two in one
        dataset.PixelData = words.astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    if not meta:
        dataset = Dataset(dataset)
    options = {"implicit_vr": syntax.is_implicit_VR, "little_endian": syntax.is_little_endian}
    dcmwrite(buffer, dataset, force_encoding=True, **options)
    return buffer.getvalue()


LOSSLESS = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
)


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_shown_alike_in_any_transfer_syntax(make_dicom, syntax, dtype):
    stored = noise(1, dtype=dtype, high=256 if dtype == np.uint8 else 4096) - (900 if dtype == np.int16 else 0)
    attributes = {"RescaleSlope": 2, "RescaleIntercept": -10, "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}
    gray = decode(encode(make_dicom(stored.astype(dtype), **attributes), syntax))
    np.testing.assert_array_equal(gray.values[0], 2 * stored.astype(np.float32) - 10)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_without_file_meta(make_dicom, syntax):
    bare = encode(make_dicom(STORED, SOPClassUID="1.2.840.10008.5.1.4.1.1.2"), syntax, meta=False)
    np.testing.assert_array_equal(decode(bare).values[0], STORED)
    if syntax.is_little_endian:  # after a preamble that is the default, and nobody could tell
        np.testing.assert_array_equal(decode(b"\0" * 128 + b"DICM" + bare).values[0], STORED)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floating_point(make_dicom, decoded, dtype):
    values = np.array([[-0.5, 1e-3], [2.5, -9999]], dtype=dtype)
    ds = make_dicom(STORED, PixelData=None, BitsAllocated=8 * values.itemsize)
    keyword = "Float" if dtype == np.float32 else "DoubleFloat"
    setattr(ds, f"{keyword}PixelData", values.tobytes())
    setattr(ds, f"{keyword}PixelPaddingValue", -9999)
    for name in ("BitsStored", "HighBit", "PixelRepresentation"):
        delattr(ds, name)
    np.testing.assert_allclose(decoded(ds).values, [[[-0.5, 1e-3], [2.5, -0.5]]], rtol=1e-6)


def test_32_bits_keep_their_digits_until_the_window(make_dicom, decoded):
    stored = 2**31 + np.arange(4, dtype=np.uint32).reshape(2, 2)
    gray = decoded(make_dicom(stored, WindowCenter=2**31 + 2, WindowWidth=4))
    np.testing.assert_allclose(gray.values[0] * 3, [[0, 1], [2, 3]], atol=1e-6)


COLOURS = noise(2, (4, 6, 3), np.uint8, 256)


@pytest.mark.parametrize("planar", [0, 1])
def test_rgb(make_dicom, decoded, planar):
    pixels = np.moveaxis(COLOURS, -1, 0) if planar else COLOURS
    ds = make_dicom(COLOURS[..., 0], SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=planar)
    ds.PixelData = pixels.tobytes()
    colour = decoded(ds)
    np.testing.assert_array_equal(colour.values, np.moveaxis(COLOURS, -1, 0))
    assert colour.span == (0, 255)


def test_ybr_becomes_rgb(make_dicom, decoded):
    """White, black and the primaries of PS3.3 C.7.6.3.1.2."""
    ybr = np.array([[[255, 128, 128], [0, 128, 128], [76, 85, 255], [150, 44, 21]]], np.uint8)
    ds = make_dicom(ybr[..., 0], SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL", PlanarConfiguration=0)
    ds.PixelData = ybr.tobytes()
    rgb = np.moveaxis(decoded(ds).values, 0, -1)[0]
    np.testing.assert_allclose(rgb, [[255] * 3, [0] * 3, [254, 0, 0], [0, 255, 0]], atol=2)


def test_palette_becomes_rgb(make_dicom, decoded):
    ds = make_dicom(np.array([[0, 1], [2, 1]], np.uint8), PhotometricInterpretation="PALETTE COLOR")
    for place, name in enumerate(("Red", "Green", "Blue")):
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [3, 0, 16])
        entries = np.array([0, 65535, 257 * place], np.uint16)
        setattr(ds, f"{name}PaletteColorLookupTableData", entries.tobytes())
    colour = decoded(ds)
    np.testing.assert_array_equal(colour.values[:, 0], [[0, 65535]] * 3)
    np.testing.assert_array_equal(colour.values[:, 1, 0], [0, 257, 514])
    assert colour.span == (0, 65535)


# Size


@pytest.mark.parametrize(
    "attributes, spacing",
    [
        ({"PixelSpacing": [0.5, 0.7], "ImagerPixelSpacing": [1, 1]}, (0.5, 0.7)),
        ({"ImagerPixelSpacing": [0.3, 0.3], "EstimatedRadiographicMagnificationFactor": 1.5}, (0.2, 0.2)),
        ({"ImagerPixelSpacing": [0.3, 0.3]}, (0.3, 0.3)),
        ({"PixelSpacing": [0, 0], "NominalScannedPixelSpacing": [0.1, 0.1]}, (0.1, 0.1)),
        ({"PixelSpacing": [-1, 1]}, None),
        ({"PixelSpacing": []}, None),
        ({}, None),
    ],
)
def test_spacing(make_dicom, decoded, attributes, spacing):
    found = decoded(make_dicom(STORED, **attributes)).spacing
    assert found == (None if spacing is None else pytest.approx(spacing))


@pytest.mark.parametrize("ratio, shape", [([2, 1], (8, 6)), ([1, 2], (4, 12)), ([0, 1], (4, 6)), ([1, 50], (4, 6))])
def test_pixels_of_known_shape_become_square(make_dicom, decoded, ratio, shape):
    stored = np.full((4, 6), 7, np.uint16)
    picture = decoded(make_dicom(stored, PixelAspectRatio=ratio))
    assert picture.values.shape == (1, *shape)
    assert (picture.values == 7).all()
    assert picture.spacing is None
    assert decoded(make_dicom(stored, PixelAspectRatio=ratio, PixelSpacing=[2, 1])).values.shape == (1, 4, 6)


# Several frames


def multi_frame(make_dicom, frames: np.ndarray, **attributes):
    ds = make_dicom(frames[0], NumberOfFrames=len(frames), **attributes)
    ds.PixelData = frames.tobytes()
    return ds


def group(**macros) -> Dataset:
    outer = Dataset()
    for macro, values in macros.items():
        inner = Dataset()
        for name, value in values.items():
            setattr(inner, name, value)
        setattr(outer, macro, [inner])
    return outer


def test_functional_groups(make_dicom, decoded):
    """A frame's own before the shared ones, and these before the image's."""
    ds = multi_frame(make_dicom, np.stack([STORED, STORED]), WindowCenter=0, WindowWidth=1, RescaleIntercept=7)
    ds.SharedFunctionalGroupsSequence = [
        group(
            PixelMeasuresSequence={"PixelSpacing": [0.5, 0.5]},
            PixelValueTransformationSequence={"RescaleSlope": 2, "RescaleIntercept": -10},
            FrameVOILUTSequence={"WindowCenter": 20, "WindowWidth": 40, "VOILUTFunction": "LINEAR_EXACT"},
        )
    ]
    other = group(
        PixelMeasuresSequence={"PixelSpacing": [0.25, 0.25]},
        FrameVOILUTSequence={"WindowCenter": 0, "WindowWidth": 20, "VOILUTFunction": "LINEAR_EXACT"},
    )
    ds.PerFrameFunctionalGroupsSequence = [Dataset(), other]
    first, second = decoded(ds, 0), decoded(ds, 1)
    np.testing.assert_allclose(first.values[0], [[0, 0.25], [0.75, 1]])
    np.testing.assert_allclose(second.values[0], [[0, 1], [1, 1]])
    assert (first.spacing, second.spacing) == ((0.5, 0.5), (0.25, 0.25))


def test_an_image_a_frame(tmp_path, make_dicom, dicom_bytes):
    frames = noise(3, (12, 30, 30))
    (tmp_path / "a").write_bytes(dicom_bytes(multi_frame(make_dicom, frames)))
    made = list(dicom.read(tmp_path, item(tmp_path, "a"), images(window=(2000, 4000))))
    assert [image.suffix for image in made] == [f"_f{number:03d}" for number in range(1, 13)]
    single = make_dicom(frames[4])
    (tmp_path / "b").write_bytes(dicom_bytes(single))
    (alone,) = dicom.read(tmp_path, item(tmp_path, "b"), images(window=(2000, 4000)))
    assert alone.suffix == ""
    np.testing.assert_array_equal(made[4].pixels, alone.pixels)


def test_a_damaged_frame_costs_no_other(tmp_path, make_dicom, dicom_bytes):
    ds = multi_frame(make_dicom, noise(4, (3, 30, 30)))
    ds.compress(RLELossless)
    frames = list(generate_frames(ds.PixelData, number_of_frames=3))
    frames[1] = frames[1][:70]
    ds.PixelData = encapsulate(frames)
    (tmp_path / "a").write_bytes(dicom_bytes(ds))
    made = list(dicom.read(tmp_path, item(tmp_path, "a"), images()))
    assert [type(image) for image in made] == [Image, Rejection, Image]
    assert made[1].suffix == "_f002" and "damaged" in made[1].reason


@pytest.mark.parametrize("compressed", [False, True])
def test_more_frames_said_than_there_are(make_dicom, dicom_bytes, compressed):
    ds = multi_frame(make_dicom, noise(4, (3, 30, 30)))
    if compressed:
        ds.compress(RLELossless)
    ds.NumberOfFrames = 10**9
    assert "fewer pixels" in rejection(dicom_bytes(ds))


# Several files


def test_a_series(tmp_path, make_dicom, dicom_bytes):
    """An image a file in the item's order; one that is damaged is said so, and costs no other."""
    for place in range(4):
        ds = make_dicom(noise(place) + np.uint16(100 * place))
        (tmp_path / f"{place}").write_bytes(dicom_bytes(ds)[: 500 if place == 2 else None])
    made = list(dicom.read(tmp_path, item(tmp_path, "3", "2", "1", "0"), images()))
    assert [image.suffix for image in made] == ["_001", "_002", "_003", "_004"]
    assert [type(image) for image in made] == [Image, Rejection, Image, Image]
    assert "damaged" in made[1].reason
    (tmp_path / "1").write_bytes(b"another")
    changed = list(dicom.read(tmp_path, item(tmp_path, "3", "0"), images()))
    assert len(changed) == 2


def test_slices_of_a_series_keep_their_relative_brightness(tmp_path, make_dicom, dicom_bytes):
    """Without a window; with one a slice each they are shown in their own."""
    ramp = np.tile(np.arange(64, dtype=np.uint16), (64, 1))
    for place, factor in enumerate((1, 4)):
        (tmp_path / f"{place}").write_bytes(dicom_bytes(make_dicom(factor * ramp)))
        window = {"WindowCenter": 32 * factor, "WindowWidth": 64 * factor}
        (tmp_path / f"w{place}").write_bytes(dicom_bytes(make_dicom(factor * ramp, **window)))
    weak, strong = dicom.read(tmp_path, item(tmp_path, "0", "1"), images())
    assert weak.pixels.max() == pytest.approx(strong.pixels.max() / 4, abs=5)
    weak, strong = dicom.read(tmp_path, item(tmp_path, "w0", "w1"), images())
    np.testing.assert_allclose(weak.pixels.astype(int), strong.pixels, atol=3)
    (alone,) = dicom.read(tmp_path, item(tmp_path, "0"), images())
    assert alone.pixels.max() == 255


# Rejections


def rejection(content: bytes) -> str:
    with pytest.raises(RejectedError) as caught:
        decode(content)
    assert "Doe" not in str(caught.value)
    return str(caught.value)


def test_rejected_with_a_reason(make_dicom, dicom_bytes):
    for other in (b"not an image\n" * 50, b"", b"\x89PNG" * 99, b"\x08\x00" + b"x" * 50, b"Doe^Jane, 1970"):
        assert rejection(other) in ("not a DICOM file", "damaged: its header cannot be read")
    assert rejection(b"Patient: Doe\n" * 50) == "not a DICOM file"
    assert rejection(dicom_bytes(make_dicom(STORED, PixelData=None))) == "no pixel data"
    assert rejection(dicom_bytes(make_dicom(STORED, Rows=None))) == "not an image: its header describes no pixels"
    assert "neither gray" in rejection(dicom_bytes(make_dicom(STORED, PhotometricInterpretation="HSV")))
    assert "damaged" in rejection(dicom_bytes(make_dicom(STORED, PhotometricInterpretation="PALETTE COLOR")))
    assert "cut short" in rejection(dicom_bytes(make_dicom(STORED, SamplesPerPixel=3)))


@pytest.mark.parametrize(
    "name",
    [
        "Basic Text SR Storage",
        "RT Structure Set Storage",
        "RT Dose Storage",
        "Segmentation Storage",
        "Grayscale Softcopy Presentation State Storage",
        "Encapsulated PDF Storage",
        "Media Storage Directory Storage",
        "VL Whole Slide Microscopy Image Storage",
    ],
)
def test_what_is_no_image_is_called_by_its_name(make_dicom, dicom_bytes, name):
    from pydicom.uid import UID_dictionary

    uid = next(uid for uid, words in UID_dictionary.items() if words[0] == name)
    pixels = {} if name.startswith(("RT Dose", "Seg", "VL")) else {"Rows": None, "Columns": None, "PixelData": None}
    ds = make_dicom(STORED, SOPClassUID=uid, **pixels)
    assert rejection(dicom_bytes(ds)) == f"not an image: {name}"


def test_rejected_if_no_decoder_reads_it(make_dicom, dicom_bytes, monkeypatch):
    content = dicom_bytes(make_dicom(STORED))
    mpeg = content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.4.100\0")
    assert rejection(content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0")).endswith("not the standard's")
    assert mpeg != content
    ds = make_dicom(noise(6))
    ds.compress(JPEGLSLossless)
    real = dicom_pixels.get_decoder(JPEGLSLossless)
    monkeypatch.setattr(type(real), "is_available", False)
    reason = rejection(dicom_bytes(ds))
    assert "JPEG-LS Lossless" in reason and "pip install pylibjpeg-libjpeg" in reason


def test_rejected_wherever_it_is_cut(make_dicom, dicom_bytes):
    content = dicom_bytes(make_dicom(np.arange(4096, dtype=np.uint16).reshape(64, 64)))
    for length in range(0, len(content) - 1, 97):
        assert rejection(content[:length])


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless, RLELossless], ids=lambda syntax: syntax.keyword)
def test_compressed_pixels_rejected_wherever_they_are_cut(make_dicom, dicom_bytes, syntax):
    """At once: some decoders do not return from a stream that is cut."""
    ds = make_dicom(noise(5, (64, 64)))
    ds.compress(syntax)
    (stream,) = generate_frames(ds.PixelData, number_of_frames=1)
    start = time.perf_counter()
    for length in range(20, len(stream) - 300, 331):
        ds.PixelData = encapsulate([stream[:length]])
        assert "damaged" in rejection(dicom_bytes(ds))
    assert time.perf_counter() - start < 20


@pytest.mark.parametrize("name", ["SC_rgb_jpeg_gdcm.dcm", "SC_rgb_dcmtk_+eb+cr.dcm", "JPEG-lossy.dcm"])
def test_jpeg_rejected_wherever_it_is_cut(dicom_bytes, name):
    """Lossless, of 8 and of 12 bits: not the upper part of an image above a gray one."""
    ds = dcmread(get_testdata_file(name, download=False))
    (stream,) = generate_frames(ds.PixelData, number_of_frames=1)
    for length in range(4, len(stream) - 10, len(stream) // 13):
        ds.PixelData = encapsulate([stream[:length]])
        assert "damaged" in rejection(dicom_bytes(ds))


def test_jpeg_of_another_size_than_the_header_says(make_dicom, dicom_bytes):
    ds = make_dicom(noise(5, (64, 64)))
    ds.compress(JPEGLSLossless)
    ds.Rows = 63
    assert "not as many" in rejection(dicom_bytes(ds))


def test_any_damage_is_a_rejection_or_an_image(make_dicom, dicom_bytes):
    ds = make_dicom(np.arange(64, dtype=np.uint16).reshape(8, 8), WindowCenter=30, WindowWidth=20, RescaleSlope=2)
    ds.VOILUTSequence = [lut([7, 9], 5, 8)]
    content = np.frombuffer(dicom_bytes(ds), dtype=np.uint8)
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged = content.copy()
        damaged[random.integers(132, len(content), 4)] = random.integers(0, 256, 4)
        try:
            assert decode(damaged.tobytes()).values.ndim == 3
        except RejectedError as rejected:
            assert "Doe" not in str(rejected)


# Real files


@functools.cache
def outcome(path: Path) -> list[np.ndarray] | str:
    """Images, or why there are none."""
    try:
        header = parse(io.BytesIO(path.read_bytes()))
        return [dicom.decode(header, index).values for index in range(dicom.count(header))]
    except RejectedError as rejected:
        return str(rejected)


@pytest.fixture
def real(shared_data) -> Path:
    folder = shared_data / "dicom"
    if not folder.is_dir():
        pytest.skip("needs the folder dicom/ of the real images")
    return folder


def test_every_real_file(real):
    found = {path.name: outcome(path) for path in sorted(real.glob("*/*.dcm")) if "mr-t1" not in str(path)}
    assert len(found) == 42
    assert {name: reason for name, reason in found.items() if isinstance(reason, str)} == {
        "MR_truncated.dcm": "damaged: cut short, it holds fewer pixels than its header says",
        "no_meta.dcm": "not a DICOM file",  # a byte too many at its start
    }
    assert {name: len(frames) for name, frames in found.items() if len(frames) in (2, 10)} == {
        "eCT_Supplemental.dcm": 2,
        "OBXXXX1A_rle_2frame.dcm": 2,
        **{
            f"emri_small{kind}.dcm": 10
            for kind in ("", "_RLE", "_big_endian", "_jpeg_2k_lossless", "_jpeg_ls_lossless")
        },
    }


def test_a_real_slice_in_all_transfer_syntaxes(real):
    """The same in those that are lossless; nearly so in the others, JPEG of 8 and of 12 bits, progressive or not."""
    lossless = ("1.2", "1.2.1", "1.2.2", "1.2.1.99", "1.2.5", "1.2.4.57", "1.2.4.70", "1.2.4.80", "1.2.4.90")
    lossy = ("1.2.4.50", "1.2.4.51", "1.2.4.53", "1.2.4.55", "1.2.4.81", "1.2.4.91")
    folder = real / "ct-chest-syntaxes"
    first, *others = ((name, next(folder.glob(f"*_1.2.840.10008.{name}.dcm"))) for name in (*lossless, *lossy))
    (expected,) = outcome(first[1])
    for name, path in others:
        (values,) = outcome(path)
        assert np.abs(values - expected).mean() < 0.02
        if name in lossless:
            np.testing.assert_array_equal(values, expected)


def test_a_real_brain_and_real_frames_in_all_codecs(real):
    (expected,) = outcome(real / "mr-brain-codecs" / "MR4_UNC.dcm")
    for name in ("J2KR", "JLSL", "JPLL", "RLE"):
        np.testing.assert_array_equal(outcome(real / "mr-brain-codecs" / f"MR4_{name}.dcm")[0], expected)
    for name in ("J2KI", "JLSN", "JPLY"):
        assert np.abs(outcome(real / "mr-brain-codecs" / f"MR4_{name}.dcm")[0] - expected).mean() < 0.02
    frames = outcome(real / "multiframe" / "emri_small.dcm")
    for name in ("RLE", "big_endian", "jpeg_2k_lossless", "jpeg_ls_lossless"):
        np.testing.assert_array_equal(outcome(real / "multiframe" / f"emri_small_{name}.dcm"), frames)


def test_a_real_radiograph_has_dark_lungs_and_a_bright_heart(real):
    """MONOCHROME1, in two codecs."""
    lossy, near = (outcome(real / "cxr" / f"RG1_{name}.dcm")[0][0] for name in ("J2KI", "JLSN"))
    assert np.abs(lossy - near).mean() < 0.01
    lung, heart = near[500:700, 1150:1300].mean(), near[1150:1350, 1050:1250].mean()
    assert lung < heart - 0.1


def test_every_file_in_pydicoms_wheel():
    """An image, or a plain reason."""
    folder = Path(get_testdata_file("CT_small.dcm", download=False)).parent
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    found = {path: outcome(path) for path in paths}
    reasons = {path.name: reason for path, reason in found.items() if isinstance(reason, str)}
    assert len(found) > 100 and len(found) - len(reasons) > 70
    damaged = {name for name, reason in reasons.items() if "damaged" in reason}
    assert damaged <= {"MR_truncated.dcm", "JPEG2000-embedded-sequence-delimiter.dcm", "badVR.dcm"}
    known = ("not a DICOM file", "not an image: ", "damaged: ", "no pixel data", "compressed in a way")
    assert all(reason.startswith(known) for reason in reasons.values())
    assert all(values.ndim == 3 for values in (frames[0] for frames in found.values() if isinstance(frames, list)))

import numpy as np
import pytest
from pydicom.dataset import Dataset

from scansynth.prepare import dicom
from scansynth.prepare.gray import RejectedError

STORED = np.array([[0, 10], [20, 30]], dtype=np.uint16)


def test_rescale_then_window_then_inversion(make_dicom, dicom_bytes):
    """Rescaled: -10, 10, 30, 50. Window, LINEAR, centre 20.5 and width 41: black at 0, white at 40. Then inverted."""
    attributes = {"RescaleSlope": 2, "RescaleIntercept": -10, "WindowCenter": 20.5, "WindowWidth": 41}
    gray = dicom.decode(dicom_bytes(make_dicom(STORED, PhotometricInterpretation="MONOCHROME1", **attributes)))
    np.testing.assert_allclose(gray.values, [[1, 0.75], [0.25, 0]])
    assert gray.span == (0, 1)
    assert gray.values.dtype == np.float32


def test_inversion_without_window_keeps_the_range(make_dicom):
    gray = dicom.show(STORED, make_dicom(STORED, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(gray.values, [[30, 20], [10, 0]])
    assert gray.span is None


def test_window_functions():
    values = np.array([-1.0, 0, 50, 100, 101])
    np.testing.assert_allclose(dicom.window(values, 50, 100, "LINEAR_EXACT"), [0, 0, 0.5, 1, 1])
    np.testing.assert_allclose(
        dicom.window(values, 50, 100, "SIGMOID")[1:4], [1 / (1 + np.e**2), 0.5, 1 / (1 + np.e**-2)]
    )
    np.testing.assert_array_equal(dicom.window(np.array([0.0, 1, 2]), 1, 1), [0, 1, 1])  # a step
    # LINEAR with centre 128 and width 256 leaves 8 bits as they are (PS3.3 C.11.2.1.2.1).
    np.testing.assert_allclose(dicom.window(np.arange(256.0), 128, 256) * 255, np.arange(256), atol=1e-9)


@pytest.mark.parametrize("center, width", [(15, 0), (15, -5), (5000, 10), (-5000, 10), ([], []), (None, 10)])
def test_absurd_window_is_ignored(make_dicom, dicom_bytes, center, width):
    attributes = {key: value for key, value in (("WindowCenter", center), ("WindowWidth", width)) if value is not None}
    gray = dicom.decode(dicom_bytes(make_dicom(STORED, **attributes)))
    np.testing.assert_array_equal(gray.values, STORED)
    assert gray.span is None


def test_first_of_several_windows(make_dicom, dicom_bytes):
    gray = dicom.decode(dicom_bytes(make_dicom(STORED, WindowCenter=[15.5, 1000], WindowWidth=[31, 1])))
    np.testing.assert_allclose(gray.values, STORED / 30, atol=1e-7)


def lut(entries: list[int], first: int, bits: int) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item.add_new("LUTData", "US", entries)
    return item


def test_modality_lut_then_voi_lut_before_window(make_dicom, dicom_bytes):
    """0, 10, 20, 30 are, from 10 on: 5, 5, 6, 6 (beyond the ends: the end); 5 and 6 are shown as 7 and 9."""
    ds = make_dicom(STORED, WindowCenter=1, WindowWidth=2)
    ds.ModalityLUTSequence = [lut([5] * 10 + [6], 10, 8)]
    ds.VOILUTSequence = [lut([7, 9], 5, 8)]
    gray = dicom.decode(dicom_bytes(ds))
    np.testing.assert_array_equal(gray.values, [[7, 7], [9, 9]])
    assert gray.span == (7, 9)


def test_lut_of_8_bits_with_more_than_256_entries(make_dicom, dicom_bytes):
    stored = np.array([[0, 1000], [2000, 4095]], dtype=np.uint16)
    ds = make_dicom(stored, VOILUTSequence=[lut([i // 16 for i in range(4096)], 0, 8)])
    np.testing.assert_array_equal(dicom.decode(dicom_bytes(ds)).values, stored // 16)


def test_padding_takes_the_darkest_value(make_dicom, dicom_bytes):
    stored = np.array([[-2000, 5], [6, 7]], dtype=np.int16)
    ds = make_dicom(stored)
    ds.add_new("PixelPaddingValue", "SS", -2000)
    np.testing.assert_array_equal(dicom.decode(dicom_bytes(ds)).values, [[5, 5], [6, 7]])


def rejection(content: bytes) -> str:
    with pytest.raises(RejectedError) as caught:
        dicom.decode(content)
    assert "Doe" not in str(caught.value)
    return str(caught.value)


def test_rejected_with_a_reason(make_dicom, dicom_bytes):
    assert rejection(b"not an image\n" * 50) == "not a DICOM file"
    assert rejection(b"") == "not a DICOM file"
    assert rejection(dicom_bytes(make_dicom(STORED, PixelData=None))) == "no pixel data"
    assert "in colour" in rejection(dicom_bytes(make_dicom(STORED, PhotometricInterpretation="PALETTE COLOR")))
    assert "in colour" in rejection(dicom_bytes(make_dicom(STORED, SamplesPerPixel=3)))
    assert "several frames" in rejection(dicom_bytes(make_dicom(STORED, NumberOfFrames=2)))
    assert "damaged" in rejection(dicom_bytes(make_dicom(STORED, Rows=None)))


def test_rejected_if_no_decoder_reads_it(make_dicom, dicom_bytes):
    content = dicom_bytes(make_dicom(STORED)).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0")
    assert "no installed decoder" in rejection(content)


def test_rejected_wherever_it_is_cut(make_dicom, dicom_bytes):
    content = dicom_bytes(make_dicom(np.arange(4096, dtype=np.uint16).reshape(64, 64)))
    for length in range(0, len(content) - 1, 97):
        assert rejection(content[:length])


def test_any_damage_is_a_rejection_or_an_image(make_dicom, dicom_bytes):
    ds = make_dicom(np.arange(64, dtype=np.uint16).reshape(8, 8), WindowCenter=30, WindowWidth=20, RescaleSlope=2)
    ds.VOILUTSequence = [lut([7, 9], 5, 8)]
    content = np.frombuffer(dicom_bytes(ds), dtype=np.uint8)
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged = content.copy()
        damaged[random.integers(132, len(content), 4)] = random.integers(0, 256, 4)
        try:
            assert dicom.decode(damaged.tobytes()).values.ndim == 2
        except RejectedError as rejected:
            assert "Doe" not in str(rejected)


def test_real_files(shared_data):
    """One CT slice in five lossless syntaxes."""
    folder = shared_data / "dicom" / "ct-chest-syntaxes"
    if not folder.is_dir():
        pytest.skip("needs shared/data/dicom")
    names = ("LittleEndianImplicit", "LittleEndianExplicit", "BigEndianExplicit", "Deflated", "RLELossless")
    files = [next(folder.glob(f"*_{name}*.dcm")) for name in names]
    first, *others = (dicom.decode(file.read_bytes()).values for file in files)
    for other in others:
        np.testing.assert_array_equal(other, first)

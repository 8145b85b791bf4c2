"""Stored values to those that a viewer shows: the grayscale pipeline of DICOM (PS3.4 N.2)."""

import numpy as np
from pydicom import Dataset

from scansynth.prepare.readers.dicom_file import number, text

Span = tuple[float, float]

# In HU, from air to dense bone. CT that brings no window is shown in it, not in a range estimated from the slice: a
# tissue then has the same gray on every slice of every patient, and no organ is cut away. A narrower one is the user's
# to ask for (images.window).
HOUNSFIELD: Span = (-1000.0, 1000.0)

TINY = float(np.finfo(np.float32).tiny)

# Every attribute that this module reads.
ATTRIBUTES = (
    "Modality",
    "PhotometricInterpretation",
    "ModalityLUTSequence",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "FloatPixelPaddingValue",
    "FloatPixelPaddingRangeLimit",
    "DoubleFloatPixelPaddingValue",
    "DoubleFloatPixelPaddingRangeLimit",
)


def show(stored: np.ndarray, header: Dataset, asked: Span | None = None) -> tuple[np.ndarray, Span | None]:
    """Stored values (height, width) as they are to be shown, float32, and the values that are black and white.

    Modality LUT (or rescale), then VOI LUT (or window), and only then the inversion of MONOCHROME1. ``asked`` is a
    window (centre, width) in the modality LUT's output units (CT: HU), instead of the file's own. The span is None
    where neither names one that is usable; of CT in HU it is ``HOUNSFIELD`` then.
    """
    inverted = text(header, "PhotometricInterpretation") == "MONOCHROME1"
    values = _modality(_without_padding(stored, header, inverted), header)
    if asked is not None:
        center, width = asked
        span = (center - width / 2, center + width / 2)
    else:
        values, span = _voi(values, header)
    if inverted:
        # The sum of both ends, so that black and white change places and the range stays.
        low, high = span or (values.min(), values.max())
        values = low + high - values
    return values.astype(np.float32, copy=False), span


def window(values: np.ndarray, center: float, width: float, function: str = "LINEAR") -> np.ndarray:
    """Apply a window (PS3.3 C.11.2.1.2 and C.11.2.1.3); the result is from 0 to 1.

    ``function`` is LINEAR, LINEAR_EXACT or SIGMOID; LINEAR asks for a width of 1 at least, the others for one above 0.
    """
    center, width = _ramp(center, width, function)
    with np.errstate(over="ignore"):  # at a width of 1 the ramp is a step
        position = (values - center) / width
        return 1 / (1 + np.exp(-4 * position)) if function == "SIGMOID" else np.clip(position + 0.5, 0, 1)


def _without_padding(stored: np.ndarray, header: Dataset, inverted: bool) -> np.ndarray:
    """Pixels outside the exposed field get the darkest value inside it: they carry a code, not an intensity."""
    prefix = {"f4": "Float", "f8": "DoubleFloat"}.get(stored.dtype.str[1:], "")
    first = number(header, f"{prefix}PixelPaddingValue")
    if first is None:
        return stored
    last = number(header, f"{prefix}PixelPaddingRangeLimit")
    # Some files write the padding of signed pixels as if it were unsigned.
    ends = [_as_stored(value, stored.dtype) for value in (first, first if last is None else last)]
    outside = (stored >= min(ends)) & (stored <= max(ends))
    if not outside.any() or outside.all():
        return stored
    inside = stored[~outside]
    return np.where(outside, inside.max() if inverted else inside.min(), stored)


def _as_stored(value: float, dtype: np.dtype) -> float:
    if dtype.kind == "f":
        return value
    wrapped = dtype.kind == "i" and value > np.iinfo(dtype).max
    return int(value) - (wrapped << 8 * dtype.itemsize)


def _modality(stored: np.ndarray, header: Dataset) -> np.ndarray:
    if header.get("ModalityLUTSequence"):
        return _look_up(stored, header.ModalityLUTSequence[0])
    # 32 bits stored times a slope would lose digits in float32 before the window cuts the range; 16 bits fit into it.
    values = stored.astype(np.float32 if stored.dtype.itemsize <= 2 else np.float64)
    slope, intercept = number(header, "RescaleSlope"), number(header, "RescaleIntercept")
    if slope not in (None, 0, 1):
        values *= slope
    if intercept:
        values += intercept
    return values


def _voi(values: np.ndarray, header: Dataset) -> tuple[np.ndarray, Span | None]:
    """Values of interest and the range they are given in; unchanged where the file names none that is usable.

    Of several alternatives the first is taken, and a LUT before a window.
    """
    if header.get("VOILUTSequence"):
        shown = _look_up(values, header.VOILUTSequence[0])
        entries = _entries(header.VOILUTSequence[0])
        return shown, (float(entries.min()), float(entries.max()))
    center, width = number(header, "WindowCenter"), number(header, "WindowWidth")
    function = text(header, "VOILUTFunction")
    function = function if function in ("LINEAR_EXACT", "SIGMOID") else "LINEAR"
    if center is None or width is None or not _sensible(values, center, width, function):
        return values, HOUNSFIELD if _in_hounsfield(header) else None
    return window(values, center, width, function), (0.0, 1.0)


def _sensible(values: np.ndarray, center: float, width: float, function: str) -> bool:
    """Whether a window shows anything of the values; some devices write zeros or the window of another image."""
    if not np.isfinite([center, width]).all() or width < (1 if function == "LINEAR" else TINY):
        return False
    center, width = _ramp(center, width, function)
    return bool(center + width / 2 > values.min() and center - width / 2 < values.max())


def _ramp(center: float, width: float, function: str) -> tuple[float, float]:
    """Centre and width of the ramp from black to white."""
    # LINEAR has half steps: the first of the window's integers is shown black, the last one white.
    return (center - 0.5, max(width - 1, TINY)) if function == "LINEAR" else (center, width)


def _in_hounsfield(header: Dataset) -> bool:
    """Whether the rescaled values are Hounsfield units: CT's are, unless they say that they are something else."""
    rescaled = number(header, "RescaleIntercept") is not None
    return text(header, "Modality") == "CT" and rescaled and text(header, "RescaleType") in ("", "HU")


def _look_up(values: np.ndarray, table: Dataset) -> np.ndarray:
    """Replace each value by its entry; those below or above the table get its first or last one (PS3.3 C.11.1.1)."""
    # Not pydicom's apply_voi, which casts the index to the entries' type: an 8-bit table of 4096 entries wraps there.
    entries = _entries(table)
    first = table.LUTDescriptor[1]
    if first > values.max():
        first -= 2**16  # a negative one that was written as if it were unsigned
    index = np.clip(np.rint(values).astype(np.int64) - first, 0, len(entries) - 1)
    return entries.astype(np.float32)[index]


def _entries(table: Dataset) -> np.ndarray:
    count = table.LUTDescriptor[0] or 2**16
    data = table.LUTData
    if isinstance(data, bytes):
        # One entry a word, or, as 8-bit tables may be, two.
        order = ">" if table.original_encoding[1] is False else "<"
        data = np.frombuffer(data, f"{order}u2" if len(data) >= 2 * count else np.uint8)
    return np.atleast_1d(data)[:count]

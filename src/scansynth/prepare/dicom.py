"""One DICOM file to one grayscale image."""

import io
import warnings
from collections.abc import Sequence

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from scansynth.prepare.gray import Gray, RejectedError

Span = tuple[float, float]


def decode(content: bytes) -> Gray:
    """Decode a single-frame grayscale DICOM file as a viewer would show it.

    Modality LUT (or rescale), then VOI LUT (or window), and only then the inversion of MONOCHROME1, as the standard
    orders them (PS3.4 N.2).

    Raises:
        RejectedError: if it is not DICOM, damaged, without pixels, in colour, of several frames, or compressed in a
            way that no installed decoder reads.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = dcmread(io.BytesIO(content))
            _check(header)
            return show(header.pixel_array, header)
    except RejectedError:
        raise
    except InvalidDicomError:
        raise RejectedError("not a DICOM file") from None
    except Exception as error:
        # Any header may lie, and decoders fail with errors of every kind: a bad file costs an image, not the run.
        raise RejectedError("damaged: cut short, or its header or its pixels cannot be decoded") from error


def show(stored: np.ndarray, header: Dataset) -> Gray:
    """Stored values, shape (height, width), as they are to be shown: see ``decode``."""
    inverted = header.PhotometricInterpretation == "MONOCHROME1"
    values = _modality(_without_padding(stored, header, inverted), header)
    values, span = _voi(values, header)
    if inverted:
        # The sum of both ends, so that black and white change places and the range stays.
        low, high = span or (values.min(), values.max())
        values = low + high - values
    return Gray(values.astype(np.float32), span)


def _check(header: Dataset) -> None:
    if "PixelData" not in header:
        raise RejectedError("no pixel data")
    interpretation = header.get("PhotometricInterpretation")
    if interpretation not in ("MONOCHROME1", "MONOCHROME2") or header.get("SamplesPerPixel", 1) != 1:
        raise RejectedError("in colour: only grayscale (MONOCHROME1 or MONOCHROME2) is read")
    if int(header.get("NumberOfFrames") or 1) > 1:
        raise RejectedError("of several frames: only single images are read")
    syntax = header.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        raise RejectedError("damaged: its transfer syntax is missing")
    if not _decodable(syntax):
        raise RejectedError(f"compressed in a way that no installed decoder reads ({syntax.name})")


def _decodable(syntax: UID) -> bool:
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


def _without_padding(stored: np.ndarray, header: Dataset, inverted: bool) -> np.ndarray:
    """Pixels outside the exposed field get the darkest value inside it: they carry a code, not an intensity."""
    first = header.get("PixelPaddingValue")
    if first is None:
        return stored
    last = header.get("PixelPaddingRangeLimit", first)
    outside = (stored >= min(first, last)) & (stored <= max(first, last))
    if outside.all():
        return stored
    inside = stored[~outside]
    return np.where(outside, inside.max() if inverted else inside.min(), stored)


def _modality(stored: np.ndarray, header: Dataset) -> np.ndarray:
    if header.get("ModalityLUTSequence"):
        return _look_up(stored, header.ModalityLUTSequence[0])
    # float64, as 32 bits stored times a slope would lose digits before the window cuts the range
    slope, intercept = header.get("RescaleSlope"), header.get("RescaleIntercept")
    return stored * float(slope or 1) + float(intercept or 0)


def _voi(values: np.ndarray, header: Dataset) -> tuple[np.ndarray, Span | None]:
    """Values of interest and the range they are given in; unchanged and None where the file names none that is usable.

    Of several alternatives the first is taken, and a LUT before a window.
    """
    if header.get("VOILUTSequence"):
        shown = _look_up(values, header.VOILUTSequence[0])
        entries = _entries(header.VOILUTSequence[0])
        return shown, (float(entries.min()), float(entries.max()))
    center, width = _first(header.get("WindowCenter")), _first(header.get("WindowWidth"))
    function = header.get("VOILUTFunction") or "LINEAR"
    if center is None or width is None or not _sensible(values, center, width, function):
        return values, None
    return window(values, center, width, function), (0.0, 1.0)


def window(values: np.ndarray, center: float, width: float, function: str = "LINEAR") -> np.ndarray:
    """Apply a window (PS3.3 C.11.2.1.2 and C.11.2.1.3); the result is from 0 to 1.

    ``function`` is LINEAR, LINEAR_EXACT or SIGMOID; LINEAR asks for a width of 1 at least, the others for one above 0.
    """
    if function == "LINEAR":
        # The standard's own half steps: the first of the window's integers is shown black, the last one white.
        center, width = center - 0.5, max(width - 1, np.finfo(float).tiny)
    with np.errstate(over="ignore"):  # at a width of 1 the ramp is a step
        position = (values - center) / width
        return 1 / (1 + np.exp(-4 * position)) if function == "SIGMOID" else np.clip(position + 0.5, 0, 1)


def _sensible(values: np.ndarray, center: float, width: float, function: str) -> bool:
    """Whether a window shows anything of the values; some devices write zeros or the window of another image."""
    least = 1 if function == "LINEAR" else np.finfo(float).tiny
    overlaps = center + width / 2 > values.min() and center - width / 2 < values.max()
    return bool(np.isfinite([center, width]).all() and width >= least and overlaps)


def _first(value: object) -> float | None:
    """The first of the values of an attribute that may have one, several or none."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if len(value) else None
    return None if value in (None, "") else float(value)


def _look_up(values: np.ndarray, table: Dataset) -> np.ndarray:
    """Replace each value by its entry; those below or above the table get its first or last one (PS3.3 C.11.1.1)."""
    # Not pydicom's apply_voi, which casts the index to the entries' type: an 8-bit table of 4096 entries wraps there.
    entries = _entries(table)
    first = table.LUTDescriptor[1]
    index = np.clip(np.rint(values).astype(np.int64) - first, 0, len(entries) - 1)
    return entries[index].astype(np.float64)


def _entries(table: Dataset) -> np.ndarray:
    count = table.LUTDescriptor[0] or 2**16
    data = table.LUTData
    if isinstance(data, bytes):
        # One entry a word, or, as 8-bit tables may be, two.
        order = ">" if table.original_encoding[1] is False else "<"
        data = np.frombuffer(data, f"{order}u2" if len(data) >= 2 * count else np.uint8)
    return np.asarray(data)[:count]

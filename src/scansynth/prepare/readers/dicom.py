"""DICOM files, as a viewer shows them: single images, frames of one file, or the files of a series."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from pydicom import Dataset, FileDataset
from pydicom.pixels import apply_color_lut

from scansynth.config import Settings
from scansynth.prepare.decoded import Decoded, Image, RejectedError, Rejection
from scansynth.prepare.items import Item
from scansynth.prepare.normalize import normalize, percentiles
from scansynth.prepare.readers import dicom_display, dicom_pixels
from scansynth.prepare.readers.dicom_file import not_an_image, number, numbers, parse
from scansynth.prepare.readers.file import read_file

# Where files of several frames keep what single ones have at the top (PS3.3 C.7.6.16).
MACROS = ("PixelMeasuresSequence", "FrameVOILUTSequence", "PixelValueTransformationSequence")
SPACINGS = (
    "PixelSpacing",
    "ImagerPixelSpacing",
    "EstimatedRadiographicMagnificationFactor",
    "NominalScannedPixelSpacing",
    "PixelAspectRatio",
)
SAMPLED = 4  # every so many rows and columns are looked at for the span of a series
STRETCH = 10  # no device's pixels are so much longer than wide


def read(root: Path, item: Item, settings: Settings) -> Iterator[Image | Rejection]:
    """An image a file and frame; the suffix is ``_001`` of the first of several files, ``_f001`` of several frames.

    Those of one item are shown alike: where they bring no window, black and white are percentiles of them all, so that
    slices keep their relative brightness.

    Raises:
        RejectedError: if the item's only image gives none.
    """
    window = settings.images.window
    images = _decode_all(root, item, window)
    first = list(islice(images, 2))
    shared = None
    if len(first) > 1 and any(_without_span(decoded) for *_, decoded in first):
        shared = _common_span(decoded for *_, decoded in chain(first, images))
        first, images = [], _decode_all(root, item, window)  # anew: a series need not fit into memory
    for file, suffix, decoded in chain(first, images):
        try:
            if isinstance(decoded, RejectedError):
                raise decoded
            image = normalize(replace(decoded, span=decoded.span or shared), settings.images, suffix)
            yield replace(image, file=file)
        except RejectedError as rejected:
            if not suffix:
                raise
            yield Rejection(suffix, str(rejected), file)


def _decode_all(
    root: Path, item: Item, window: tuple[float, float] | None
) -> Iterator[tuple[int, str, Decoded | RejectedError]]:
    several = len(item.files) > 1
    for place, file in enumerate(item.files):
        suffix = f"_{place + 1:03d}" if several else ""
        try:
            header = parse(io.BytesIO(read_file(root, file)))
            frames = count(header)
        except RejectedError as rejected:
            yield place, suffix, rejected
            continue
        for index in range(frames):
            name = f"{suffix}_f{index + 1:03d}" if frames > 1 else suffix
            try:
                yield place, name, decode(header, index, window)
            except RejectedError as rejected:
                yield place, name, rejected


def _without_span(decoded: Decoded | RejectedError) -> bool:
    return isinstance(decoded, Decoded) and decoded.span is None


def _common_span(images: Iterable[Decoded | RejectedError]) -> tuple[float, float] | None:
    """Percentiles of all images that have no span of their own; None where they hold no number."""
    samples = [image.values[:, ::SAMPLED, ::SAMPLED].ravel() for image in images if _without_span(image)]
    sample = np.concatenate(samples)
    sample = sample[np.isfinite(sample)]
    return percentiles(sample) if sample.size else None


def count(header: FileDataset) -> int:
    """How many images a file holds.

    Raises:
        RejectedError: if it holds none, or none that can be decoded.
    """
    if other := not_an_image(header):
        raise RejectedError(f"not an image: {other}")
    try:
        return dicom_pixels.count(header)
    except RejectedError:
        raise
    except Exception as error:
        raise RejectedError("damaged: its header contradicts itself or its pixels") from error


def decode(header: FileDataset, index: int = 0, window: tuple[float, float] | None = None) -> Decoded:
    """Frame ``index`` (from 0): one channel of gray, or three of colour.

    ``window`` is centre and width to show gray in, in the file's output units (CT: HU), instead of the file's own.

    Raises:
        RejectedError: if the pixels are damaged.
    """
    try:
        stored, meaning = dicom_pixels.stored(header, index)
        described = of_frame(header, index)
        if meaning in ("MONOCHROME1", "MONOCHROME2"):
            values, span = dicom_display.show(stored, described, window)
            values = values[None]
        elif meaning in ("PALETTE COLOR", "RGB"):
            # A palette's entries fill their 8 or 16 bits; those of RGB fill the bits stored.
            palette = meaning == "PALETTE COLOR"
            colour = apply_color_lut(stored, header) if palette else stored
            bits = 8 * colour.itemsize if palette else header.BitsStored
            values, span = np.moveaxis(colour[..., :3], -1, 0), (0.0, float(2**bits - 1))
        else:
            raise RejectedError("its colours are neither gray, a palette, RGB nor YBR")
        if values.ndim != 3:
            raise RejectedError("damaged: it has more samples a pixel than its header says")
    except RejectedError:
        raise
    except Exception as error:
        # Any header may lie, and decoders fail with errors of every kind: a bad file costs an image, not the run.
        raise RejectedError("damaged: its header or its pixels cannot be decoded") from error
    spacing = pixel_spacing(described)
    return Decoded(values if spacing else _square_pixels(values, described), span, spacing)


def of_frame(header: Dataset, index: int) -> Dataset:
    """What the header says of a frame's display and size: that of the frame, else of all frames, else of the image."""
    shared = header.get("SharedFunctionalGroupsSequence") or []
    each = header.get("PerFrameFunctionalGroupsSequence") or []
    groups = [*shared[:1], *each[index : index + 1]]
    if not groups:
        return header
    described = Dataset()
    for part in (header, *(macro for group in groups for name in MACROS for macro in (group.get(name) or [])[:1])):
        for keyword in (*dicom_display.ATTRIBUTES, *SPACINGS):
            if keyword in part:
                described[keyword] = part.get_item(keyword)  # as it is in the file: it may not be what it should
    return described


def pixel_spacing(header: Dataset) -> tuple[float, float] | None:
    """Millimetres between rows and between columns, None where the file does not say.

    At the patient if it says so, else at the detector (divided by the magnification, where that is known), else on the
    film that was scanned.
    """
    magnified = number(header, "EstimatedRadiographicMagnificationFactor") or 1.0
    for keyword, factor in (("PixelSpacing", 1), ("ImagerPixelSpacing", magnified), ("NominalScannedPixelSpacing", 1)):
        spacing = numbers(header, keyword)
        if len(spacing) == 2 and all(0 < value / factor < np.inf for value in spacing):
            return spacing[0] / factor, spacing[1] / factor
    return None


def _square_pixels(values: np.ndarray, header: Dataset) -> np.ndarray:
    """Pixels of which only the shape is known (height and width, in any unit), made square by more of them."""
    shape = numbers(header, "PixelAspectRatio")
    if len(shape) != 2 or min(shape) <= 0 or not 1 / STRETCH < shape[0] / shape[1] < STRETCH:
        return values
    height, width = values.shape[1:]
    size = (round(width * max(1, shape[1] / shape[0])), round(height * max(1, shape[0] / shape[1])))
    return np.stack([Pillow.fromarray(channel).resize(size, Pillow.Resampling.BILINEAR) for channel in values])

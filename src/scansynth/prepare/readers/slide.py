"""Whole-slide images to patches of a known size, where there is tissue.

Slides are read by OpenSlide, or by tiffslide where that is missing or does not know the file. The pictures of the label
and of the whole glass, which many slides hold beside the tissue, are never read: they may say who the patient is.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow
from skimage.filters import threshold_otsu

from scansynth.config import Settings
from scansynth.prepare.decoded import Decoded, Image, RejectedError, Rejection
from scansynth.prepare.items import File, Item, by_role
from scansynth.prepare.normalize import normalize
from scansynth.prepare.readers import packed
from scansynth.prepare.readers.annotations import Annotations, read_asap
from scansynth.prepare.readers.file import read_file
from scansynth.sections import Patches
from scansynth.store import evenly

SLIDE, ANNOTATED, PARTLY = "slide", "annotated", "partly annotated"  # what an item's files are in it
PIXELS = (0.05, 20.0)  # micrometres a pixel that a scanner may have; what is beyond is a default, or an error
NEAR = 1.01  # a level that is coarser than the patches by no more than this is fine enough
OVERVIEW = 8.0  # micrometres a pixel, about, of the picture that tissue is looked for in
BLOCK = 2048  # pixels along each side that it is read by
COLOUR = (0.05, 0.15)  # where the threshold between glass and tissue may lie, see ``tissue``

Findings = tuple[str, ...]


@dataclass(frozen=True)
class Frame:
    """A rectangle in pixels of the slide's finest level, from its upper left corner."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Slide:
    """An open slide."""

    pyramid: Any  # of OpenSlide or tiffslide, which have the same methods
    pixel: np.ndarray  # micrometres a pixel of the finest level: across and down

    def level(self, downsample: float) -> tuple[int, float]:
        """The coarsest level with the detail of ``downsample``, and by how much it is coarser than the finest."""
        level = self.pyramid.get_best_level_for_downsample(downsample * NEAR)
        return level, self.pyramid.level_downsamples[level]

    def region(self, left: int, top: int, level: int, width: int, height: int) -> Pillow.Image:
        """``width`` x ``height`` pixels of a level, from a pixel of the finest one; white where nothing was scanned.

        Raises:
            RejectedError: if they cannot be decoded.
        """
        try:
            found = self.pyramid.read_region((left, top), level, (width, height)).convert("RGBA")
        except Exception as error:  # decoders fail with errors of every kind
            _open.cache_clear()  # OpenSlide reads no more of a slide once it has failed
            raise RejectedError("damaged: its pixels are cut short or cannot be decoded") from error
        return Pillow.alpha_composite(Pillow.new("RGBA", found.size, "white"), found).convert("RGB")

    def render(self, frame: Frame, size: int) -> Pillow.Image:
        """A frame in ``size`` x ``size`` pixels, to fractions of a pixel: bilinear, widened against aliasing."""
        level, coarser = self.level(min(frame.width, frame.height) / size)
        left, top = math.floor(frame.left), math.floor(frame.top)
        x, y = (frame.left - left) / coarser, (frame.top - top) / coarser
        right, bottom = x + frame.width / coarser, y + frame.height / coarser
        region = self.region(left, top, level, math.ceil(right), math.ceil(bottom))
        return region.resize((size, size), Pillow.Resampling.BILINEAR, (x, y, right, bottom))


def read(root: Path, item: Item, settings: Settings) -> Iterator[Image | Rejection]:
    """Patches of tissue of one slide: of ``item.part`` = (k, n) run k (from 0) of the n runs that they are cut into.

    A patch is ``images.size`` pixels of ``patches.microns``. Patches touch; their grid begins in the slide's corner.
    Where tumour is outlined, a patch shows it if the central third of each side does, as in PatchCamelyon.

    Raises:
        RejectedError: if the slide gives no patch at all; in its first run alone, so that it is counted once.
    """
    files, (run, runs) = by_role(item), item.part
    size, patches = settings.images.size, settings.patches
    try:
        packed.check(root, files[SLIDE])
        frames = _frames(root, files[SLIDE], patches, size)
        if not frames:
            raise RejectedError("too little tissue: no patch of the wanted size has patches.tissue of it")
        findings = _findings(root, files, settings)
    except RejectedError:
        if run == 0:
            raise
        return
    for frame in frames[len(frames) * run // runs : len(frames) * (run + 1) // runs]:
        suffix = f"_x{round(frame.left):06d}_y{round(frame.top):06d}"
        try:
            yield replace(_patch(_open(root, files[SLIDE]), frame, suffix, settings), findings=findings(frame))
        except RejectedError as rejected:
            yield Rejection(suffix, str(rejected))


def tissue(slide: Slide) -> tuple[np.ndarray, np.ndarray]:
    """Where there is tissue: a mask (height, width), and its pixels in micrometres, across and down.

    Tissue is coloured and glass is not: the largest of red, green and blue minus the least, from 0 to 1, is above
    Otsu's threshold (IEEE Trans. Syst. Man Cybern. 9, 1979). That is held within ``COLOUR``, for slides of tissue or
    of glass alone. Ink counts as tissue.
    """
    level, coarser = slide.level(OVERVIEW / slide.pixel.mean())
    sides = slide.pyramid.level_dimensions[level]
    times = max(1, min(round(OVERVIEW / (slide.pixel.mean() * coarser)), *sides))
    block = BLOCK // times * times
    width, height = (side // times * times for side in sides)
    colour = np.zeros((height // times, width // times), np.uint8)
    for top in range(0, height, block):
        for left in range(0, width, block):
            across, down = min(block, width - left), min(block, height - top)
            region = slide.region(round(left * coarser), round(top * coarser), level, across, down).reduce(times)
            row, column = top // times, left // times
            colour[row : row + down // times, column : column + across // times] = np.ptp(np.asarray(region), axis=2)
    threshold = np.clip(threshold_otsu(colour) / 255, *COLOUR)
    return colour > threshold * 255, slide.pixel * coarser * times


def _patch(slide: Slide, frame: Frame, suffix: str, settings: Settings) -> Image:
    size, spacing = settings.images.size, settings.patches.microns / 1000
    pixels = np.asarray(slide.render(frame, size), dtype=np.float32)
    decoded = Decoded(np.moveaxis(pixels, -1, 0), (0.0, 255.0), (spacing, spacing))
    return replace(normalize(decoded, settings.images, suffix), upscaled=bool(frame.width < size))


@lru_cache(maxsize=2)  # a worker process reads several runs of a slide
def _frames(root: Path, file: File, patches: Patches, size: int) -> list[Frame]:
    """The patches of a slide that have tissue: ``patches.most`` of them, evenly spaced among them all, row by row."""
    slide = _open(root, file)
    side = size * patches.microns / slide.pixel  # pixels of the finest level
    columns, rows = np.floor(np.array(slide.pyramid.dimensions) / side + 1e-6).astype(int)
    if not columns or not rows:
        raise RejectedError("smaller than a patch")
    mask, step = tissue(slide)
    extent = np.array([columns, rows]) * side * slide.pixel / step  # of the grid, in pixels of the mask
    margin = np.maximum(np.ceil(extent).astype(int)[::-1] - mask.shape, 0)
    padded = np.pad(mask.astype(np.float32), [(0, margin[0]), (0, margin[1])], mode="edge")
    share = np.asarray(
        Pillow.fromarray(padded).resize((columns, rows), Pillow.Resampling.BOX, (0, 0, extent[0], extent[1]))
    )
    chosen = np.argwhere(share > patches.tissue - 1e-4)
    if patches.most is not None:
        chosen = evenly(chosen, patches.most)
    return [Frame(column * side[0], row * side[1], *side) for row, column in chosen.tolist()]


@lru_cache(maxsize=1)
def _open(root: Path, file: File) -> Slide:
    """Open a slide.

    Raises:
        RejectedError: if neither library can, or if it does not say how large its pixels are.
    """
    pyramid = None
    for opener in (_openslide, _tiffslide):
        try:
            pyramid = opener(root / file.path)
            break
        except Exception:  # not installed, not its format, or damaged: libraries fail with errors of every kind
            continue
    if pyramid is None:
        raise RejectedError("not a slide that OpenSlide or tiffslide reads, or damaged")
    found = [
        float(pyramid.properties.get(f"openslide.mpp-{axis}") or pyramid.properties.get(f"tiffslide.mpp-{axis}") or 0)
        for axis in "xy"
    ]
    if not all(PIXELS[0] <= micrometres <= PIXELS[1] for micrometres in found):
        raise RejectedError(
            "it does not say how large its pixels are (micrometres a pixel, or the resolution of a TIFF), so that no "
            "patch of a known size can be cut from it"
        )
    return Slide(pyramid, np.array(found))


def _openslide(path: Path) -> Any:
    from openslide import OpenSlide

    return OpenSlide(path)


def _tiffslide(path: Path) -> Any:
    from tiffslide import TiffSlide

    return TiffSlide(path)


def _findings(root: Path, files: dict[str, File], settings: Settings) -> Callable[[Frame], Findings | None]:
    """What a patch shows: None where the slide has no outlines, so that the item's label holds."""
    role = next((role for role in (ANNOTATED, PARTLY) if role in files), None)
    if role is None:
        return lambda frame: None
    absent, present = packed.absent_and_present(settings.dataset)
    outlines = _annotations(root, files[role])
    elsewhere = (absent,) if role == ANNOTATED else ()  # there may be tumour that nobody outlined
    pixels = max(1, round(settings.images.size / 3))

    def findings(frame: Frame) -> Findings:
        width, height = frame.width / 3, frame.height / 3
        tumour = outlines.tumour_in(frame.left + width, frame.top + height, width, height, pixels)
        return (present,) if tumour else elsewhere

    return findings


@lru_cache(maxsize=1)
def _annotations(root: Path, file: File) -> Annotations:
    return read_asap(read_file(root, file))

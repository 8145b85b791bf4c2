"""A decoded image to the store's: intensities from 0 to 1, square, of the experiment's size, 8 bits."""

import math

import numpy as np
from PIL import Image as Pillow

from scansynth.prepare.decoded import Decoded, Image, RejectedError
from scansynth.sections import Images

PERCENTILES = (0.5, 99.5)
# For the manifest: how ``resize`` does it.
RESIZED = {"library": "Pillow", "filter": "bilinear, widened against aliasing", "masks": "nearest"}
# Channels of a gray picture that went through JPEG in colour may differ by rounding; a share of the limits.
ROUNDING = 2.5 / 255


def normalize(decoded: Decoded, images: Images, suffix: str = "") -> Image:
    """The image as it is stored: cut to its limits, made square, resampled, and its limits made 0 and 255.

    Raises:
        RejectedError: if the image is blank, not finite, has other channels than wanted, or has no spacing where
            ``images.pixel_mm`` asks for one.
    """
    low, high = limits(decoded)
    rows, columns, spacing = field_of_view(decoded, images)
    mask = None
    if decoded.mask is not None:
        mask = nearest(square(decoded.mask, rows, columns, 0), images.size)
    shown = [
        resize(square(within(channel, low, high), rows, columns, low), images.size)
        for channel in channels(decoded.values, images.channels, ROUNDING * (high - low))
    ]
    pixels = to_uint8((np.stack(shown) - low) / (high - low))
    return Image(pixels, suffix, spacing, upscaled=min(rows, columns) < images.size, mask=mask)


def limits(decoded: Decoded) -> tuple[float, float]:
    """The values that become black and white: the known span, else robust percentiles, as a few pixels may be far off.

    Raises:
        RejectedError: if nothing of the image lies between them, or if it holds values that are not finite.
    """
    values = decoded.values
    least, most = float(values.min()), float(values.max())
    if not math.isfinite(least + most):
        raise RejectedError("damaged: it holds values that are not finite")
    low, high = decoded.span or percentiles(values)
    if not high > low or max(low, least) >= min(high, most):
        raise RejectedError("blank: (nearly) all pixels have the same value")
    return low, high


def percentiles(values: np.ndarray) -> tuple[float, float]:
    """The robust limits of an image, or of a volume's foreground."""
    low, high = np.percentile(values, PERCENTILES)
    return float(low), float(high)


def within(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """The values cut to the limits, float32; those of a type that cannot pass them as they are."""
    if values.dtype == np.uint8 and low <= 0 and high >= 255:
        return values.astype(np.float32)
    return np.clip(values, low, high).astype(np.float32)


def channels(values: np.ndarray, wanted: str | tuple[str, ...], rounding: float) -> np.ndarray:
    """The channels that the store wants, of an image (channels, height, width).

    Raises:
        RejectedError: if the image is in colour (by more than ``rounding``) and gray is wanted, or if it has not the
            contrasts that are.
    """
    if wanted == "gray" and len(values) == 3:
        if (values.max(axis=0) - values.min(axis=0)).max() > rounding:
            raise RejectedError("in colour, and images.channels is gray: set it to rgb to keep the colours")
        return values[1:2]
    if wanted == "rgb" and len(values) == 1:
        return np.repeat(values, 3, axis=0)
    count = {"gray": 1, "rgb": 3}[wanted] if isinstance(wanted, str) else len(wanted)
    if len(values) != count:
        raise RejectedError(f"it has {len(values)} channel(s), and images.channels asks for {count}")
    return values


def field_of_view(decoded: Decoded, images: Images) -> tuple[int, int, float | None]:
    """Rows and columns of the square (in millimetres) that becomes the image, and its millimetres a pixel.

    Pixels that are not square are made so by having more rows than columns in it, or fewer.
    """
    height, width = decoded.values.shape[-2:]
    down, right = decoded.spacing or (1.0, 1.0)
    if images.pixel_mm is None:
        side = (max if images.fit == "pad" else min)(height * down, width * right)
        spacing = side / images.size if decoded.spacing else None
    elif decoded.spacing is None:
        raise RejectedError("it does not say how large its pixels are, and images.pixel_mm asks for a size")
    else:
        side, spacing = images.pixel_mm * images.size, images.pixel_mm
    return max(1, round(side / down)), max(1, round(side / right)), spacing


def square(image: np.ndarray, rows: int, columns: int, outside: float) -> np.ndarray:
    """The central ``rows`` x ``columns`` of an image (height, width); ``outside`` where it has no more."""
    height, width = image.shape
    image = image[_central(height, rows), _central(width, columns)]
    if image.shape == (rows, columns):
        return image
    whole = np.full((rows, columns), outside, image.dtype)
    whole[_central(rows, height), _central(columns, width)] = image
    return whole


def _central(have: int, wanted: int) -> slice:
    start = max(0, have - wanted) // 2
    return slice(start, start + min(have, wanted))


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """One anti-aliased resampling to (size, size), float32; an image of that size stays as it is.

    Pillow's triangle filter, whose support grows with the reduction: a tenth of the time of a Gaussian and a warp
    (scikit-image), 0.1 gray levels of 255 from it.
    """
    picture = Pillow.fromarray(np.ascontiguousarray(image, dtype=np.float32))
    return np.asarray(picture.resize((size, size), Pillow.Resampling.BILINEAR))


def nearest(mask: np.ndarray, size: int) -> np.ndarray:
    """A mask (height, width) at (size, size), uint8: each pixel the nearest one, so that no label is made up."""
    picture = Pillow.fromarray(np.ascontiguousarray(mask, dtype=np.uint8))
    return np.asarray(picture.resize((size, size), Pillow.Resampling.NEAREST))


def to_uint8(image: np.ndarray) -> np.ndarray:
    """From 0 to 1 to uint8 from 0 to 255, rounded."""
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)

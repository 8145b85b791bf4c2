import io

import numpy as np
import pytest
from PIL import Image

from scansynth.prepare.decoded import RejectedError
from scansynth.prepare.normalize import channels
from scansynth.prepare.readers import raster

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)


def encode(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def test_modes_that_are_gray_equal_l():
    image = Image.fromarray(PIXELS)
    np.testing.assert_array_equal(raster.decode(encode(image)).values, PIXELS[None])
    transparent = image.convert("RGBA")
    transparent.putalpha(7)
    for variant in (image.convert("RGB"), image.convert("RGBA"), transparent, image.convert("LA")):
        decoded = raster.decode(encode(variant))
        np.testing.assert_array_equal(channels(decoded.values, "gray", 2)[0], PIXELS)
        assert decoded.span == (0, 255)


def test_palette_and_two_levels():
    palette = Image.fromarray(PIXELS).convert("P")
    palette.putpalette([value for i in range(256) for value in (i, i, i)])
    np.testing.assert_array_equal(raster.decode(encode(palette)).values, [PIXELS] * 3)
    two = Image.fromarray(PIXELS > 127)
    np.testing.assert_array_equal(raster.decode(encode(two)).values[0], (PIXELS > 127) * 255)


def test_16_bits_keep_all_of_them():
    deep = PIXELS.astype(np.uint16) * 257
    gray = raster.decode(encode(Image.fromarray(deep)))
    np.testing.assert_array_equal(gray.values[0], deep)
    assert gray.span is None  # twelve of them may be in use, or all


def test_floats_are_not_cut_to_whole_numbers():
    values = np.random.default_rng(0).normal(0, 1, (20, 30)).astype(np.float32)
    np.testing.assert_array_equal(raster.decode(encode(Image.fromarray(values), "TIFF")).values[0], values)


def test_a_stack_of_pages_is_rejected():
    buffer = io.BytesIO()
    page = Image.fromarray(PIXELS)
    page.save(buffer, "TIFF", save_all=True, append_images=[page, page])
    with pytest.raises(RejectedError, match="3 pages"):
        raster.decode(buffer.getvalue())


def test_jpeg_in_colour_modes_though_gray():
    smooth = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1)))
    values = raster.decode(encode(smooth.convert("RGB"), "JPEG")).values
    assert np.abs(values.astype(int) - np.asarray(smooth)).max() < 12
    assert len(channels(values, "gray", 2)) == 1


def test_colours_and_tiff():
    colour = Image.fromarray(np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    for kind in ("PNG", "TIFF"):
        decoded = raster.decode(encode(colour, kind))
        np.testing.assert_array_equal(decoded.values, np.moveaxis(np.asarray(colour), -1, 0))


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "not a PNG, JPEG or TIFF"),
        (b"text", "not a PNG, JPEG or TIFF"),
        (encode(Image.fromarray(PIXELS))[:300], "damaged"),
        (encode(Image.fromarray(PIXELS), "JPEG")[:300], "damaged"),
        (encode(Image.fromarray(PIXELS), "BMP"), "not a PNG, JPEG or TIFF"),
    ],
)
def test_rejected_with_a_reason(content, reason):
    with pytest.raises(RejectedError, match=reason):
        raster.decode(content)

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from scansynth.acquire import inventory
from scansynth.config import Settings
from scansynth.prepare.decoded import Image, RejectedError, Rejection
from scansynth.prepare.items import File, Item, Label
from scansynth.prepare.readers import slide

DATASET = {"title": "t", "layout": "slides", "split_by": "slide", "findings": ["Normal", "Tumour"]}
DATASET |= {"no_finding": "Normal", "licence": "none", "citation": "none", "address": "none"}
GLASS, TISSUE = (243, 241, 244), (200, 120, 180)


def settings(size: int = 64, **patches) -> Settings:
    return Settings(dataset=DATASET, images={"size": size, "channels": "rgb"}, patches={"microns": 1.0, **patches})


def save(path: Path, levels: list[np.ndarray], microns: float | None = 0.25, tile=(256, 256), **options) -> Path:
    """A pyramid; each level is (height, width, 3) uint8, the finest first."""
    resolution = {} if microns is None else {"resolution": (1e4 / microns,) * 2, "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as file:
        for i, level in enumerate(levels):
            kind = {"subfiletype": 1} if i else {}
            file.write(level, tile=tile, photometric="rgb", metadata=None, **resolution, **kind, **options)
    return path


def item(path: Path, part=(0, 1), annotations: Path | None = None, role: str = slide.ANNOTATED) -> Item:
    files = [File.of(inventory.take(path.parent, [path])[0], slide.SLIDE)]
    if annotations:
        files.append(File.of(inventory.take(path.parent, [annotations])[0], role))
    return Item("s_00", "slide", tuple(files), Label(patient="p"), part)


def read(path: Path, wanted: Settings, **options) -> list[Image | Rejection]:
    return list(slide.read(path.parent, item(path, **options), wanted))


def place(image: Image | Rejection) -> tuple[int, int]:
    x, y = image.suffix.removeprefix("_x").split("_y")
    return int(x), int(y)


def glass(height: int, width: int) -> np.ndarray:
    return np.broadcast_to(np.uint8(GLASS), (height, width, 3)).copy()


def speckled(seed: int, height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(-20, 20, (height, width, 1))
    return np.clip(np.array(TISSUE) + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("microns, wanted", [(0.25, 1.0), (0.243, 1.0), (0.499, 1.0), (0.5, 0.7)])
def test_a_patch_is_as_large_as_asked_for_and_where_it_says(tmp_path, microns, wanted):
    """On a ramp the value of a pixel is its place: to a tenth of a level-0 pixel over the whole slide."""
    side = int(5 * 64 * wanted / microns) + 3
    ramp = np.broadcast_to(np.arange(side) * 200 / side, (side, side))
    picture = np.stack([ramp + 20, ramp.T + 20, np.full((side, side), 250)], axis=-1)
    rounding = np.random.default_rng(0).random(picture.shape)  # dithers, so that means are finer than a grey level
    path = save(tmp_path / "ramp.tif", [np.floor(picture + rounding).astype(np.uint8)], microns)
    found = read(path, settings(microns=wanted, tissue=0.0, most=None))
    assert len(found) == 25
    step = 64 * wanted / microns
    for k, image in enumerate(found):
        row, column = divmod(k, 5)
        assert place(image) == (round(column * step), round(row * step))
        assert image.spacing == pytest.approx(wanted / 1000)
        inside = image.pixels[:2, 4:-4, 4:-4].astype(float)  # at the border, the slide's own edge is in the filter
        centre = [(column + 0.5) * step, (row + 0.5) * step]
        np.testing.assert_allclose(inside.mean(axis=(1, 2)), np.array(centre) * 200 / side + 20 - 100 / side, atol=0.15)
        across = np.polyfit(np.arange(56), inside[0].mean(axis=0), 1)[0]
        assert across == pytest.approx(wanted / microns * 200 / side, rel=0.03)


@pytest.mark.parametrize("wanted, level", [(0.25, 0), (0.49, 0), (0.5, 1), (0.7, 1), (0.995, 2), (1.0, 2), (1.9, 2)])
def test_the_coarsest_level_with_all_detail_is_read(tmp_path, wanted, level):
    levels = [np.zeros((1024 >> k, 1024 >> k, 3), np.uint8) for k in range(3)]
    for k, pixels in enumerate(levels):
        pixels[...] = speckled(k, *pixels.shape[:2])
        pixels[..., 2] = 60 + 70 * k
    path = save(tmp_path / "levels.tif", levels)
    found = read(path, settings(microns=wanted))
    assert {int(image.pixels[2].mean().round()) for image in found} == {60 + 70 * level}
    assert not any(image.upscaled for image in found)


def test_finer_than_the_slide_is_said(tmp_path):
    path = save(tmp_path / "coarse.tif", [speckled(0, 512, 512)], microns=2.0)
    assert all(image.upscaled for image in read(path, settings(microns=1.0)))


def test_patches_are_where_tissue_is(tmp_path):
    """Tissue covers the second patch, three quarters of the fourth and a quarter of the last, in the middle row."""
    picture = glass(256 * 3, 256 * 6 + 100)
    picture[256:512, 256:512] = speckled(0, 256, 256)
    picture[256:512, 768:960] = speckled(1, 256, 192)
    picture[256:512, 1280:1344] = speckled(2, 256, 64)
    path = save(tmp_path / "s.tif", [picture])
    expected = {0.9: [256], 0.6: [256, 768], 0.2: [256, 768, 1280]}
    for share, columns in expected.items():
        assert [place(image) for image in read(path, settings(tissue=share))] == [(x, 256) for x in columns]
    assert len(read(path, settings(tissue=0.0))) == 18


@pytest.mark.parametrize("picture", [glass(600, 600), speckled(0, 600, 600)], ids=["glass", "tissue"])
def test_slides_of_glass_alone_or_of_tissue_alone(tmp_path, picture):
    path = save(tmp_path / "s.tif", [picture])
    if picture[0, 0].tolist() == list(GLASS):
        with pytest.raises(RejectedError, match="too little tissue"):
            read(path, settings())
        assert read(path, settings(), part=(1, 2)) == []  # counted once
    else:
        assert len(read(path, settings())) == 4


def test_a_slide_smaller_than_a_pixel_of_the_overview(tmp_path):
    path = save(tmp_path / "s.tif", [speckled(0, 130, 130)], microns=0.05)
    assert len(read(path, settings(microns=0.05))) == 4


def test_an_overview_of_several_blocks_is_one_of_one(tmp_path, monkeypatch):
    picture = glass(1500, 1700)
    picture[300:900, 400:1400] = speckled(0, 600, 1000)
    path = save(tmp_path / "s.tif", [picture])
    opened = slide._open(tmp_path, item(path).files[0])
    whole, step = slide.tissue(opened)
    monkeypatch.setattr(slide, "BLOCK", 500)
    np.testing.assert_array_equal(slide.tissue(opened)[0], whole)
    assert step == pytest.approx([8, 8])
    down, across = np.nonzero(whole)
    assert [down.min(), down.max(), across.min(), across.max()] == [9, 27, 12, 43]  # of 32 pixels each


def test_runs_are_all_patches_once_and_most_are_spread(tmp_path):
    path = save(tmp_path / "s.tif", [speckled(0, 640, 640)])
    every = [image.suffix for image in read(path, settings(size=64, microns=0.5, most=None))]
    assert len(every) == 25
    for runs in (7, 64):
        found = [image.suffix for run in range(runs) for image in read(path, settings(microns=0.5), part=(run, runs))]
        assert found == every
    some = [image.suffix for image in read(path, settings(microns=0.5, most=5))]
    assert some == every[::5]


def test_both_libraries_give_the_same_pixels_and_one_stands_in_for_the_other(shared_data, monkeypatch):
    path = shared_data / "histo" / "wsi" / "CMU-1-Small-Region.svs"
    wanted = settings(microns=2.0, most=4)
    first = read(path, wanted)
    slide._open.cache_clear()
    slide._frames.cache_clear()
    monkeypatch.setattr(slide, "_openslide", lambda path: 1 / 0)
    second = read(path, wanted)
    assert "tiffslide" in type(slide._open(path.parent, item(path).files[0]).pyramid).__module__
    assert [image.suffix for image in first] == [image.suffix for image in second]
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.pixels, b.pixels)
    slide._open.cache_clear()


def test_a_tiff_in_strips_is_read(tmp_path):
    path = save(tmp_path / "s.tif", [speckled(0, 512, 512)], tile=None, rowsperstrip=16)
    assert len(read(path, settings())) == 4


def test_label_and_macro_are_never_read(shared_data, monkeypatch):
    openslide = pytest.importorskip("openslide")

    def forbidden(self):
        raise AssertionError("the pictures beside the slide were asked for")

    monkeypatch.setattr(openslide.OpenSlide, "associated_images", property(forbidden))
    slide._open.cache_clear()
    slide._frames.cache_clear()
    assert len(read(shared_data / "histo" / "wsi" / "CMU-1-Small-Region.svs", settings(microns=2.0))) > 5


@pytest.mark.parametrize("microns", [None, 25400 / 72, 0.001])
def test_without_a_size_of_pixels_it_is_rejected(tmp_path, microns):
    path = save(tmp_path / "s.tif", [speckled(0, 512, 512)], microns)
    with pytest.raises(RejectedError, match="how large its pixels are"):
        read(path, settings())
    assert read(path, settings(), part=(3, 4)) == []


def test_other_slides_that_give_nothing(tmp_path):
    small = save(tmp_path / "small.tif", [speckled(0, 256, 250)])
    with pytest.raises(RejectedError, match="smaller than a patch"):
        read(small, settings())
    text = tmp_path / "text.svs"
    text.write_text("no slide")
    with pytest.raises(RejectedError, match="not a slide"):
        read(text, settings())
    before = item(text)
    text.write_text("changed")
    with pytest.raises(RejectedError, match="size"):
        list(slide.read(tmp_path, before, settings()))


def test_a_damaged_tile_costs_its_patches_alone(tmp_path):
    levels = [speckled(0, 1024, 1024), speckled(1, 256, 256)]  # the overview is read from the second
    path = save(tmp_path / "s.tif", levels, microns=2.0, compression="zlib")
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        start, length = page.dataoffsets[5], page.databytecounts[5]  # row 1, column 1 of 4 x 4 tiles
    content = bytearray(path.read_bytes())
    content[start : start + length] = bytes(length)
    path.write_bytes(content)
    found = read(path, settings(microns=2.0))
    bad = [part for part in found if isinstance(part, Rejection)]
    assert len(found) == 256
    assert {place(part) for part in bad} >= {(x, y) for x in (320, 384) for y in (320, 384)}
    assert len(bad) <= 36 and {part.reason for part in bad} == {
        "damaged: its pixels are cut short or cannot be decoded"
    }


OUTLINE = """<ASAP_Annotations><Annotations><Annotation Name="a" Type="Polygon" PartOfGroup="{}"><Coordinates>
<Coordinate Order="0" X="{}" Y="{}" /><Coordinate Order="1" X="{}" Y="{}" /><Coordinate Order="2" X="{}" Y="{}" />
<Coordinate Order="3" X="{}" Y="{}" /></Coordinates></Annotation></Annotations></ASAP_Annotations>"""


@pytest.mark.parametrize("role, elsewhere", [(slide.ANNOTATED, ("Normal",)), (slide.PARTLY, ())])
def test_a_patch_shows_tumour_if_its_central_third_does(tmp_path, role, elsewhere):
    path = save(tmp_path / "s.tif", [speckled(0, 600, 1200)])
    annotations = tmp_path / "s.xml"
    for right, expected in ((80, 0), (90, 1), (300, 1), (340, 1), (346, 2)):  # thirds: 85.3 to 170.7, 341.3 to 426.7
        annotations.write_text(OUTLINE.format("Tumor", 0, 90, right, 90, right, 160, 0, 160))
        found = read(path, settings(), annotations=annotations, role=role)
        assert len(found) == 8
        top = [image.findings for image in found[:4]]
        assert top == [("Tumour",)] * expected + [elsewhere] * (4 - expected)
        assert {image.findings for image in found[4:]} == {elsewhere}


def test_without_outlines_the_item_s_label_holds(tmp_path):
    path = save(tmp_path / "s.tif", [speckled(0, 256, 256)])
    assert [image.findings for image in read(path, settings())] == [None]


def test_bad_outlines_reject_the_slide_once(tmp_path):
    path = save(tmp_path / "s.tif", [speckled(0, 256, 256)])
    annotations = tmp_path / "s.xml"
    annotations.write_text("text")
    with pytest.raises(RejectedError, match="not XML"):
        read(path, settings(), annotations=annotations)
    whole = item(path, annotations=annotations)
    assert list(slide.read(tmp_path, replace(whole, part=(1, 2)), settings())) == []

"""Tumour outlined on a slide, in the XML files of ASAP, as Camelyon has them."""

from collections.abc import Iterable
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
from PIL import Image, ImageDraw

from scansynth.prepare.decoded import RejectedError

# What ``PartOfGroup`` is called in Camelyon16's training and test sets and in Camelyon17.
TUMOUR = ("_0", "_1", "tumor", "tumour", "metastases")
EXCLUDED = ("_2", "exclusion", "normal")
AREAS = ("Polygon", "Spline", "Rectangle")  # dots and rulers outline nothing


@dataclass(frozen=True)
class Annotations:
    """Outlines, each of shape (points, 2): x and y in pixels of the slide's finest level."""

    tumour: tuple[np.ndarray, ...]
    excluded: tuple[np.ndarray, ...]

    def tumour_in(self, left: float, top: float, width: float, height: float, size: int) -> bool:
        """Whether a rectangle of the finest level holds tumour, looked at in ``size`` x ``size`` pixels."""
        corner, scale = np.array([left, top]), size / np.array([width, height])
        picture = Image.new("1", (size, size))
        draw = ImageDraw.Draw(picture)
        for outlines, value in ((self.tumour, 1), (self.excluded, 0)):
            for outline in _near(outlines, corner, corner + np.array([width, height])):
                draw.polygon(((outline - corner) * scale - 0.5).ravel().tolist(), fill=value)
        return picture.getbbox() is not None


def read_asap(content: bytes) -> Annotations:
    """The outlines in an XML file of ASAP.

    Raises:
        RejectedError: if it is not such a file, if it declares a document type (which could make entities grow without
            end), or if an area is of a group that is not known to be tumour or not.
    """
    try:
        parsed = ElementTree.fromstring(content, ElementTree.XMLParser(target=_NoDocumentType()))
        areas = [area for area in parsed.iter("Annotation") if area.get("Type") in AREAS]
        outlines = [(str(area.get("PartOfGroup")).strip().lower(), _outline(area)) for area in areas]
    except (ElementTree.ParseError, KeyError, ValueError):
        raise RejectedError("its annotations are not XML as ASAP writes it") from None
    if any(group not in TUMOUR + EXCLUDED for group, _ in outlines):
        known = f"{', '.join(TUMOUR)} (tumour), {', '.join(EXCLUDED)} (not)"
        raise RejectedError(f"its annotations have a group of another name than {known}")
    return Annotations(
        tuple(outline for group, outline in outlines if group in TUMOUR),
        tuple(outline for group, outline in outlines if group in EXCLUDED),
    )


class _NoDocumentType(ElementTree.TreeBuilder):
    def doctype(self, *_: str | None) -> None:
        raise RejectedError("its annotations are not XML as ASAP writes it: they declare a document type")


def _outline(area: ElementTree.Element) -> np.ndarray:
    points = sorted(area.iter("Coordinate"), key=lambda point: int(point.attrib["Order"]))
    outline = np.array([(float(point.attrib["X"]), float(point.attrib["Y"])) for point in points])
    if len(outline) < 3 or not np.isfinite(outline).all():
        raise ValueError("an area has three points or more")
    return outline


def _near(outlines: Iterable[np.ndarray], low: np.ndarray, high: np.ndarray) -> Iterable[np.ndarray]:
    """Those whose bounding box meets the rectangle."""
    return (outline for outline in outlines if (outline.max(0) >= low).all() and (outline.min(0) <= high).all())

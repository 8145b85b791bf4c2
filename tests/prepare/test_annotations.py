import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scansynth.prepare.decoded import RejectedError
from scansynth.prepare.readers.annotations import read_asap


def area(group: str, points, kind: str = "Polygon") -> str:
    coordinates = "".join(f'<Coordinate Order="{i}" X="{x}" Y="{y}" />' for i, (x, y) in enumerate(points))
    return (
        f'<Annotation Name="a" Type="{kind}" PartOfGroup="{group}" Color="#F4FA58">'
        f"<Coordinates>{coordinates}</Coordinates></Annotation>"
    )


def xml(*areas: str) -> bytes:
    group = '<Group Name="_0" PartOfGroup="None" Color="#00ff00"><Attributes /></Group>'
    head = '<?xml version="1.0"?>\n<ASAP_Annotations>'
    return f"{head}<Annotations>{''.join(areas)}</Annotations>{group}</ASAP_Annotations>".encode()


def box(left, top, right, bottom):
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


@pytest.mark.parametrize("group", ["_0", "_1", "Tumor", "tumour", "metastases"])
def test_a_rectangle_has_tumour_where_an_outline_reaches_it(group):
    outlines = read_asap(xml(area(group, box(1000, 2000, 1100, 2300))))
    assert outlines.tumour_in(1040, 2100, 10, 10, 32)  # inside
    assert outlines.tumour_in(0, 0, 9000, 9000, 32)  # around
    assert outlines.tumour_in(1090, 2290, 96, 96, 32)  # at the corner
    assert not outlines.tumour_in(1105, 2000, 96, 96, 32)  # beside
    assert not outlines.tumour_in(900, 2310, 96, 96, 32)  # below


def test_what_is_cut_out_is_none():
    holed = xml(area("_2", box(40, 40, 60, 60)), area("_0", box(0, 0, 100, 100)))  # whatever their order
    outlines = read_asap(holed)
    assert not outlines.tumour_in(42, 42, 16, 16, 32)
    assert outlines.tumour_in(30, 42, 16, 16, 32)
    assert outlines.tumour_in(5, 5, 16, 16, 32)


def test_shapes_that_are_not_convex_and_order_of_points():
    ring = [(0, 0), (90, 0), (90, 90), (60, 90), (60, 30), (30, 30), (30, 90), (0, 90)]  # open at the bottom
    text = xml(area("_0", ring)).decode()
    shuffled = text.replace('<Coordinate Order="0" X="0" Y="0" />', "").replace(
        "</Coordinates>", '<Coordinate Order="0" X="0" Y="0" /></Coordinates>'
    )
    for content in (text, shuffled):
        outlines = read_asap(content.encode())
        assert not outlines.tumour_in(33, 40, 24, 24, 32)
        assert outlines.tumour_in(33, 5, 24, 20, 32)


def test_dots_are_left_out():
    dot = area("some group", [(5, 5)], kind="Dot")
    assert not read_asap(xml(dot)).tumour_in(0, 0, 10, 10, 32)


@given(st.floats(0, 900), st.floats(0, 900), st.floats(1, 100), st.floats(1, 100))
def test_rectangles_agree_with_arithmetic(left, top, width, height):
    low, high = np.array([300, 400]), np.array([500, 700])
    start, end = np.array([left, top]), np.array([left + width, top + height])
    found = read_asap(xml(area("_0", box(*low, *high)))).tumour_in(left, top, width, height, 32)
    if (end > low + 4).all() and (start < high - 4).all():  # 4: more than a pixel of the 32
        assert found
    elif (end < low - 4).any() or (start > high + 4).any():
        assert not found


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "not XML as ASAP"),
        (b"text", "not XML as ASAP"),
        (xml(area("_0", [(1, 1), (2, 2)])), "not XML as ASAP"),
        (xml(area("_0", [(1, 1), (2, 2), ("nan", 3)])), "not XML as ASAP"),
        (xml(area("_0", [(1, 1), (2, 2), ("x", 3)])), "not XML as ASAP"),
        (xml('<Annotation Type="Polygon" PartOfGroup="_0"><Coordinate X="1" /></Annotation>'), "not XML as ASAP"),
        (xml(area("Jane Doe", box(0, 0, 1, 1))), "group of another name"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "document type"),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "document type"),
    ],
)
def test_rejected_with_a_reason_that_quotes_nothing(content, reason):
    with pytest.raises(RejectedError, match=reason) as caught:
        read_asap(content)
    assert "Jane" not in str(caught.value)

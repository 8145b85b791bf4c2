"""Synthetic images as DICOM: marked as such, valid, and the same pixels when they are read again."""

import io
import shutil
import subprocess

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import UID

from scansynth import secondary_capture
from scansynth.config import Settings
from scansynth.prepare.normalize import normalize
from scansynth.prepare.readers import dicom
from scansynth.prepare.readers.dicom_file import parse

SHOWN = {"findings": "Effusion|Nodule", "view": "PA", "sex": "F", "age": "60"}
MADE_BY = {"model": "ab" * 32, "seed": 2**32 - 1, "index": 3, "steps": 25, "guidance": 2.0}
NOTHING = dict.fromkeys(SHOWN, "")


def pixels(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def read(content):
    return dcmread(io.BytesIO(content))


GRAY, COLOUR = pixels(64, 64), pixels(64, 64, 3)
CASES = {
    "gray": secondary_capture.encode(GRAY, SHOWN, MADE_BY),
    "colour": secondary_capture.encode(COLOUR, NOTHING, MADE_BY),
    "contrast of odd size": secondary_capture.encode(pixels(65, 65), NOTHING, MADE_BY, "t1"),
}


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="needs dciodvfy, of Debian's package dicom3tools")
@pytest.mark.parametrize("name", CASES)
def test_a_validator_finds_no_error(name, tmp_path):
    def errors(content):
        (tmp_path / "x.dcm").write_bytes(content)
        done = subprocess.run(["dciodvfy", "-new", tmp_path / "x.dcm"], capture_output=True, text=True)
        assert "SCImage" in done.stderr
        # SyntheticData is younger than the dictionary of most versions of the tool.
        return [line for line in done.stderr.splitlines() if line.startswith("Error") and "(0008,001c)" not in line]

    assert errors(CASES[name]) == []
    broken, changed = io.BytesIO(), read(CASES[name])
    del changed.ConversionType
    changed.save_as(broken)
    assert any("ConversionType" in line for line in errors(broken.getvalue()))


@pytest.mark.parametrize(("image", "channels"), [(GRAY, "gray"), (COLOUR, "rgb")])
def test_the_reader_of_scans_gives_the_same_pixels(image, channels):
    content = secondary_capture.encode(image, SHOWN, MADE_BY)
    header = parse(io.BytesIO(content))
    assert dicom.count(header) == 1
    dataset = {"title": "t", "layout": "dicom_folder", "licence": "n", "citation": "n", "address": "n"}
    settings = Settings.model_validate({"dataset": dataset, "images": {"size": 64, "channels": channels}})
    found = normalize(dicom.decode(header), settings.images).pixels
    np.testing.assert_array_equal(found, image[None] if image.ndim == 2 else np.moveaxis(image, -1, 0))
    np.testing.assert_array_equal(read(content).pixel_array, image)


def test_it_says_that_it_is_synthetic():
    image = read(CASES["gray"])
    assert image.SyntheticData == "YES" and image.ConversionType == "SYN"
    assert image.ImageType == ["DERIVED", "SECONDARY"] and image.Modality == "OT"
    assert image.PatientID.startswith("SYNTHETIC-") and str(image.PatientName).startswith("Synthetic^")
    assert (
        "Not an image of a patient" in image.DerivationDescription and MADE_BY["model"] in image.DerivationDescription
    )
    assert image.ImageComments.endswith("Asked to show: findings Effusion, Nodule; view PA; sex F; age 60")
    assert (image.PatientSex, image.PatientAge, image.BurnedInAnnotation) == ("F", "060Y", "NO")
    assert read(CASES["colour"]).PatientSex == "" and "PatientAge" not in read(CASES["colour"])


def test_the_private_block_says_what_it_was_made_by():
    block = read(CASES["gray"]).private_block(0x0071, "SCANSYNTH")
    values = [block[i].value for i in range(5)]
    assert values[0] == MADE_BY["model"] and values[2:4] == [2**32 - 1, 3]
    assert values[1] == '{"findings": "Effusion|Nodule", "view": "PA", "sex": "F", "age": "60"}'
    assert '"guidance": 2.0' in values[4]


def test_no_date_and_no_chance():
    assert secondary_capture.encode(GRAY, SHOWN, MADE_BY) == CASES["gray"]
    for element in read(CASES["gray"]).iterall():
        if element.VR in ("DA", "TM", "DT"):
            assert not element.value


UIDS = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")


@pytest.mark.parametrize(
    ("changes", "others"),
    [
        ({"made_by": MADE_BY | {"index": 4}}, {*UIDS, "PatientID"}),
        ({"made_by": MADE_BY | {"model": "cd" * 32}}, {*UIDS, "PatientID"}),
        ({"made_by": MADE_BY | {"guidance": 1.0}}, {*UIDS, "PatientID"}),
        ({"shown": SHOWN | {"view": "AP"}}, {*UIDS, "PatientID"}),
        ({"series": "t2"}, {"SOPInstanceUID", "SeriesInstanceUID"}),
        ({"pixels": GRAY ^ 1}, {"SOPInstanceUID"}),
    ],
)
def test_another_image_has_another_name(changes, others):
    first = read(CASES["gray"])
    arguments = {"pixels": GRAY, "shown": SHOWN, "made_by": MADE_BY} | changes
    second = read(secondary_capture.encode(**arguments))
    assert {name for name in (*UIDS, "PatientID") if first[name].value != second[name].value} == others
    assert all(UID(second[name].value).is_valid for name in UIDS)

"""DICOM files and what their headers say, however badly they were written."""

import logging
import warnings
from collections.abc import Sequence
from typing import BinaryIO

from pydicom import Dataset, FileDataset, config, dcmread
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RTDoseStorage,
    SegmentationStorage,
    VLWholeSlideMicroscopyImageStorage,
)

from scansynth.prepare.decoded import RejectedError

# What pydicom says of a value that breaks the rules quotes it, and it may be a patient's name.
config.settings.reading_validation_mode = config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
warnings.filterwarnings("ignore", module=r"pydicom\.")

PREAMBLE = 128
# The first element's group, in little and in big endian, of a file that has no preamble: file meta or identification.
GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08")
IMAGE = ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation")
# They have pixels, and what these show is no picture of a patient; slides have a layout of their own.
NOT_PICTURES = (
    RTDoseStorage,
    SegmentationStorage,
    "1.2.840.10008.5.1.4.1.1.66.7",  # label map segmentation, which pydicom does not know yet
    VLWholeSlideMicroscopyImageStorage,
)


def parse(file: BinaryIO, **options: object) -> FileDataset:
    """The header (and the pixels, undecoded) of an open file; ``options`` are those of ``pydicom.dcmread``.

    A file without preamble and file meta, as old software writes it, is taken for DICOM if it begins as DICOM's
    elements do. Where the transfer syntax is missing it is the one of its headers: little endian, implicit or explicit,
    as a rule.

    Raises:
        RejectedError: if it is not DICOM, or damaged.
    """
    start = file.read(PREAMBLE + 4)
    if start[PREAMBLE:] != b"DICM" and start[:2] not in GROUPS:
        raise RejectedError("not a DICOM file")
    file.seek(0)
    try:
        header = dcmread(file, force=True, **options)
        if not header.file_meta.get("TransferSyntaxUID"):
            implicit, little = header.original_encoding
            uncompressed = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
            header.file_meta.TransferSyntaxUID = uncompressed if little else ExplicitVRBigEndian
    except Exception as error:  # any header may lie, and pydicom fails with errors of every kind
        raise RejectedError("damaged: its header cannot be read") from error
    if not kind(header) and not any(keyword in header for keyword in IMAGE):
        raise RejectedError("not a DICOM file")
    return header


def kind(header: FileDataset) -> str:
    """What the file is, in the standard's words (``CT Image Storage``), empty where it does not say."""
    uid = UID(text(header, "SOPClassUID") or text(header.file_meta, "MediaStorageSOPClassUID"))
    return uid.name if uid.name != uid else ""  # of a UID that is not the standard's the name is the UID itself


def not_an_image(header: FileDataset) -> str:
    """What the file is instead of an image; empty if it is one."""
    pictures = text(header, "SOPClassUID") not in NOT_PICTURES
    if pictures and all(keyword in header for keyword in IMAGE):
        return ""
    name = kind(header)
    return "its header describes no pixels" if not name or (pictures and "Image Storage" in name) else name


def text(header: Dataset, keyword: str) -> str:
    """An element's value as text, several values joined by a backslash; empty where it is missing or not readable."""
    try:
        value = header.get(keyword)
    except Exception:  # a value is only converted now, and may be anything
        return ""
    if value is None:
        return ""
    several = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    return "\\".join(str(one).strip(" \0") for one in (value if several else [value]))


def numbers(header: Dataset, keyword: str) -> tuple[float, ...]:
    """An element's values as numbers; empty where it is missing or not readable."""
    try:
        return tuple(float(value) for value in text(header, keyword).split("\\"))
    except ValueError:
        return ()


def number(header: Dataset, keyword: str) -> float | None:
    """The first of them, None where there is none."""
    return next(iter(numbers(header, keyword)), None)

"""Synthetic images as DICOM files that say in standard attributes what they are, so that none passes for a patient's.

Secondary Capture (PS3.3 A.8.1) is the class for images that no modality acquired. Those of modalities (DX, MR, ...)
have mandatory attributes of the acquisition, which here would be invented: exposure, detector, position of the patient.
"""

import io
import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

SYNTHETIC = "Synthetic: made from noise by a diffusion model (scansynth). Not an image of a patient; not for diagnosis."
CREATOR = "SCANSYNTH"  # of the private block (0071,xx..): what an image was made by
MODEL, CONDITION, SEED, INDEX, SETTINGS = range(5)  # its elements


def encode(pixels: np.ndarray, shown: Mapping[str, str], made_by: Mapping[str, Any], series: str = "") -> bytes:
    """A DICOM file's bytes: of the same arguments always the same, since no clock and no random number is in them.

    Each image is a patient, a study and a series of its own, as no two show the same body; ``series`` tells those apart
    that do (the contrasts of a slice).

    Args:
        pixels: uint8, (height, width) for gray or (height, width, 3) for colour.
        shown: what the image was asked to show: findings, view, sex, age (years); empty where nothing is said.
        made_by: model (its SHA-256), seed, index, and the other settings of the sampler.
        series: which of an image's series it is, and its description.
    """
    made = json.dumps({**made_by, **shown}, sort_keys=True)
    subject = sha256(made.encode()).hexdigest()[:16]
    image = Dataset()
    image.SpecificCharacterSet = "ISO_IR 192"
    _describe_subject(image, subject, shown)
    image.StudyInstanceUID, image.SeriesInstanceUID = _uid("study", made), _uid("series", made, series)
    # The last bits of an image depend on the machine: other pixels are another instance.
    image.SOPInstanceUID = _uid("image", made, series, sha256(pixels.tobytes()).hexdigest())
    image.SOPClassUID = SecondaryCaptureImageStorage
    image.StudyDate = image.StudyTime = image.StudyID = image.AccessionNumber = image.ReferringPhysicianName = ""
    image.SeriesNumber, image.InstanceNumber = 1, made_by["index"] + 1
    image.PatientOrientation = image.Laterality = ""
    image.Modality = "OT"
    image.Manufacturer = image.SecondaryCaptureDeviceManufacturer = "scansynth"
    if series:
        image.SeriesDescription = series
    _mark_synthetic(image, shown, made_by)
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    gray = pixels.ndim == 2
    image.set_pixel_data(pixels, "MONOCHROME2" if gray else "RGB", bits_stored=8, generate_instance_uid=False)
    if gray:
        image.WindowCenter, image.WindowWidth = 128, 256  # 0 is black and 255 is white: nothing is stretched
    content = io.BytesIO()
    image.save_as(content, enforce_file_format=True)
    return content.getvalue()


def asked_for(shown: Mapping[str, str]) -> str:
    """What an image was asked to show, in words."""
    words = [f"{column} {value.replace('|', ', ')}" for column, value in shown.items() if value]
    return f"Asked to show: {'; '.join(words) or 'nothing in particular'}"


def _describe_subject(image: Dataset, subject: str, shown: Mapping[str, str]) -> None:
    image.PatientID, image.PatientName = f"SYNTHETIC-{subject}", f"Synthetic^{subject}"
    image.PatientBirthDate, image.PatientSex = "", shown["sex"] if shown["sex"] in ("F", "M", "O") else ""
    if shown["age"]:
        image.PatientAge = f"{round(float(shown['age'])):03d}Y"


def _mark_synthetic(image: Dataset, shown: Mapping[str, str], made_by: Mapping[str, Any]) -> None:
    """The standard's own marks, words for people, and a private block for programs.

    PatientIdentityRemoved is left out: it would promise that the pixels hold no trace of a training patient, which the
    search for copies makes likely and nothing makes sure.
    """
    image.SyntheticData = "YES"
    image.ConversionType = "SYN"  # PS3.3 C.8.6.1: a synthetic image
    image.ImageType = ["DERIVED", "SECONDARY"]
    image.BurnedInAnnotation, image.LossyImageCompression = "NO", "00"
    image.DerivationDescription = f"{SYNTHETIC} SHA-256 of the model: {made_by['model']}"
    image.ImageComments = f"{SYNTHETIC} {asked_for(shown)}"
    block = image.private_block(0x0071, CREATOR, create=True)
    block.add_new(MODEL, "LO", made_by["model"])
    block.add_new(CONDITION, "LT", json.dumps(dict(shown), ensure_ascii=False))
    block.add_new(SEED, "UL", made_by["seed"])
    block.add_new(INDEX, "UL", made_by["index"])
    block.add_new(SETTINGS, "LT", json.dumps(dict(made_by), sort_keys=True))


def _uid(*parts: str) -> str:
    """A UID that depends on ``parts`` alone."""
    return generate_uid(entropy_srcs=[json.dumps(parts)])

"""What a listing needs to know of DICOM files, from their headers alone: image, place in a series, patient."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydicom import FileDataset
from tqdm import tqdm

from scansynth import cores, workers
from scansynth.acquire.inventory import Entry
from scansynth.dataset import Dataset
from scansynth.prepare import patients, privacy
from scansynth.prepare.decoded import RejectedError
from scansynth.prepare.readers.dicom_file import IMAGE, kind, not_an_image, number, numbers, parse, text

# De-identification: of all that a header says of a patient and an examination only this goes on: the ID as a pseudonym;
# sex as M or F; age in whole years (from the dates of birth and study where it is not given), in a private data set up
# to patients.TOP; the view, if it is one of VIEWS or declared by the data set. All else stays behind.
KEPT = ("PatientID", "PatientSex", "PatientAge", "ViewPosition")
VIEWS = {"PA": "PA", "AP": "AP"} | dict.fromkeys(("LL", "RL", "LLAT", "RLAT", "LAT", "LATERAL"), "LATERAL")

# What identifies a person, or an examination that others know of.
PEOPLE = (
    "PatientName",
    "OtherPatientNames",
    "PatientBirthName",
    "PatientMotherBirthName",
    "ResponsiblePerson",
    "ReferringPhysicianName",
    "ConsultingPhysicianName",
    "PerformingPhysicianName",
    "RequestingPhysician",
    "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy",
    "OperatorsName",
)
WORDS = (
    "PatientID",
    "OtherPatientIDs",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "AccessionNumber",
    "AdmissionID",
    "StudyID",
    "RequestedProcedureID",
    "InstitutionName",
    "InstitutionAddress",
    "StationName",
    "DeviceSerialNumber",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "FrameOfReferenceUID",
)
USED = (
    *KEPT,
    *PEOPLE,
    *WORDS,
    *IMAGE,
    "SOPClassUID",
    "OtherPatientIDsSequence",
    "PatientBirthDate",
    "StudyDate",
    "SeriesDate",
    "ContentDate",
    "Modality",
    "ImageType",
    "BurnedInAnnotation",
    "NumberOfFrames",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
)

# What stands in PatientID and PatientName where somebody has taken them out.
PLACEHOLDER = re.compile(
    r"0*|anon|anonymi[sz]ed|anonymous|deidentified|name|no|none|null|patient|removed|unknown", re.IGNORECASE
)
FEW = 256  # files that are read in less time than worker processes start in
CHUNK = 64


@dataclass(frozen=True)
class Header:
    """A file that is DICOM."""

    other: str = ""  # what it is instead of an image
    modality: str = ""
    capture: bool = False  # of a screen or a film
    localizer: bool = False
    frames: int = 1
    shape: tuple[int, int] = (0, 0)  # rows, columns
    series: str = ""
    instance: str = ""  # its SOPInstanceUID
    number: float = 0  # its InstanceNumber
    position: tuple[float, ...] = ()  # of its first pixel, in mm; empty where the file does not say
    orientation: tuple[float, ...] = ()  # of its rows, then of its columns; likewise
    patient: str = ""  # whoever has the same one is the same person
    known_by: str = ""  # what that is: the tag's name, empty where the header does not say who it is
    sex: str = ""
    age: str = ""  # in years, or as DICOM writes it
    view: str = ""  # as in the file
    burned_in: str = ""  # whether text is burned into the image: YES, NO, or empty where the file does not say
    identifiers: frozenset[str] = frozenset()


def read_headers(root: Path, entries: Sequence[Entry]) -> list[Header | str]:
    """The header of each file, or the reason why there is none; in worker processes if there are many files."""
    paths = [root / entry.path for entry in entries]
    bar = partial(tqdm, total=len(paths), desc="headers", unit="file")
    if len(paths) < FEW or cores.granted() == 1:
        return list(bar(map(read_header, paths)))
    with workers.pool(cores.granted()) as pool:
        return list(bar(pool.map(read_header, paths, chunksize=CHUNK)))


def read_header(path: Path) -> Header | str:
    """The header of a file, or the reason why there is none."""
    try:
        with path.open("rb") as file:
            return _header(parse(file, stop_before_pixels=True, specific_tags=list(USED)))
    except RejectedError as rejected:
        return str(rejected)
    except OSError:
        return "not readable: gone since it was acquired, no permission, or the disk failed"
    except Exception:  # any header may lie
        return "damaged: its header cannot be read"


def view(header: Header, dataset: Dataset) -> str:
    """The view as the data set calls it; empty where it is not known, or not one that the data set declares."""
    name = VIEWS.get(header.view, header.view if header.view in dataset.views else "")
    return name if not dataset.views or name in dataset.views else ""


def age(header: Header, dataset: Dataset) -> str:
    """Age in whole years, as digits; empty where it is not known."""
    return patients.years(header.age, patients.TOP if dataset.private else patients.OLDEST)


def _header(header: FileDataset) -> Header:
    known_by, patient = _patient(header)
    return Header(
        other=not_an_image(header),
        modality=text(header, "Modality"),
        capture="Secondary Capture" in kind(header),
        localizer="LOCALIZER" in text(header, "ImageType").split("\\"),
        frames=int(number(header, "NumberOfFrames") or 1),
        shape=(int(number(header, "Rows") or 0), int(number(header, "Columns") or 0)),
        series=text(header, "SeriesInstanceUID"),
        instance=text(header, "SOPInstanceUID"),
        number=number(header, "InstanceNumber") or 0,
        position=_finite(numbers(header, "ImagePositionPatient"), 3),
        orientation=_finite(numbers(header, "ImageOrientationPatient"), 6),
        patient=patient,
        known_by=known_by,
        sex=patients.sex(text(header, "PatientSex")),
        age=_age(header),
        view=text(header, "ViewPosition").upper(),
        burned_in=text(header, "BurnedInAnnotation").upper(),
        identifiers=_identifiers(header),
    )


def _patient(header: FileDataset) -> tuple[str, str]:
    """The tag that says who it is, and what it says; values of different tags are never the same."""
    if not _missing(patient := text(header, "PatientID")):
        return "PatientID", patient
    if not _missing(name := text(header, "PatientName")):
        words = " ".join(re.findall(r"[^\W_]+", name.casefold()))
        return "PatientName", f"name {words} {text(header, 'PatientBirthDate')}"
    study = text(header, "StudyInstanceUID")
    return "", f"study {study}" if study else ""


def _missing(value: str) -> bool:
    return all(PLACEHOLDER.fullmatch(word) for word in re.split(r"[\W_]+", value))


def _age(header: FileDataset) -> str:
    """As given, else years from birth to the examination; empty where a date is missing or not a date."""
    given = text(header, "PatientAge")
    if patients.years(given):
        return given
    born = text(header, "PatientBirthDate")
    taken = next(filter(None, (text(header, f"{of}Date") for of in ("Study", "Series", "Content"))), "")
    if not (re.fullmatch(r"\d{8}", born) and re.fullmatch(r"\d{8}", taken)):
        return ""
    years = int(taken[:4]) - int(born[:4]) - (taken[4:] < born[4:])
    return str(years) if years >= 0 else ""


def _identifiers(header: FileDataset) -> frozenset[str]:
    words = [value for keyword in WORDS for value in text(header, keyword).split("\\")]
    words += [text(other, "PatientID") for other in header.get("OtherPatientIDsSequence") or []]
    for keyword in PEOPLE:
        for name in text(header, keyword).split("\\"):
            words += [name, *re.split(r"[\^=,\s]+", name)]
    born = re.fullmatch(r"(\d{4})(\d\d)(\d\d)", text(header, "PatientBirthDate"))
    if born:
        year, month, day = born.groups()
        words += [born[0], f"{year}-{month}-{day}", f"{day}.{month}.{year}", f"{month}/{day}/{year}"]
    return privacy.telling(words)


def _finite(values: tuple[float, ...], count: int) -> tuple[float, ...]:
    return values if len(values) == count and all(abs(value) < 1e6 for value in values) else ()

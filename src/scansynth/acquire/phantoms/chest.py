"""Chest radiograph phantoms: DICOM files of a computed thorax, with labels in the NIH ChestX-ray14 columns.

Everything about a patient follows from (seed, patient) and everything about an image from (seed, image), so any count
and any number of workers give the same bytes.
"""

import csv
import hashlib
import io
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian
from threadpoolctl import threadpool_limits

from scansynth import cores
from scansynth import workers as processes
from scansynth.acquire.phantoms import film, projection
from scansynth.acquire.phantoms.thorax import Body, State

SIZE = 256  # rows and columns
COLUMNS = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
LATERAL = 0.15  # share of all images; of the others 60 % are PA and 40 % AP
ACUTE = ("Effusion", "Nodule", "Pneumothorax")
_SIZES, _PATIENT, _IMAGE, _UID, _VIEW = range(5)  # keys that keep the random streams apart


@dataclass(frozen=True)
class Plan:
    """Which patient image ``index`` shows, and which of that patient's images it is."""

    index: int
    patient: int
    follow_up: int

    @property
    def name(self) -> str:
        """File name without suffix, as NIH names its images."""
        return f"{self.patient:08d}_{self.follow_up:03d}"


def plan(seed: int, count: int) -> list[Plan]:
    """The first ``count`` images: patients from 1 on, with 1 to 4 images each (2 on average)."""
    sizes = np.searchsorted([0.35, 0.70, 0.92], _stream(seed, _SIZES).random(max(count, 1)), side="right") + 1
    everyone = (Plan(0, p, k) for p, size in enumerate(sizes, start=1) for k in range(size))
    return [Plan(i, p.patient, p.follow_up) for i, p in zip(range(count), everyone, strict=False)]


def _stream(*key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(key))


@dataclass(frozen=True)
class Case:
    """One image before it is rendered: anatomy, state, geometry, labels and how it will be stored."""

    plan: Plan
    body: Body
    state: State
    rays: projection.Rays
    view: str
    labels: tuple[str, ...]
    yaw: float
    pixel: float


def draw_body(seed: int, patient: int) -> Body:
    """Draw one patient's anatomy; about 14 % have an enlarged heart."""
    rng = _stream(seed, _PATIENT, patient)
    female = bool(rng.random() < 0.45)
    age = int(np.clip(rng.normal(52, 17), 18, 92))
    scale = rng.normal(0.93 if female else 1.0, 0.04)
    weight = rng.gamma(3.0, 1 / 3.0)  # 1 on average, skewed to the heavy side
    enlarged = rng.random() < 0.14
    return Body(
        female=female,
        age=age,
        width=136 * scale * rng.normal(1, 0.035),
        depth=84 * scale * rng.normal(1, 0.05),
        apex=122 * scale,
        reach=302 * scale * rng.normal(1, 0.05),
        wall=22 + 10 * weight,
        fat=4 + 7 * weight,
        heart=rng.uniform(0.58, 0.67) if enlarged else rng.uniform(0.405, 0.475),
        upright=rng.normal(0, 0.10),
        knob=float(np.clip(12 + 0.09 * (age - 20) + rng.normal(0, 1.5), 11, 22)),
        slope=rng.normal(1.0, 0.13),
        bone=rng.normal(1.05, 0.1) * (1.0 - 0.003 * max(age - 50, 0)),
        breast=rng.uniform(8, 32) * weight**0.5 if female else 0.0,
        arms=rng.uniform(0, 70),
        vessels=int(rng.integers(2**31)),
        domes=(rng.uniform(44, 60), rng.uniform(50, 75)),
        heart_shape=(rng.uniform(-0.03, 0.05), rng.uniform(-0.03, 0.04)),
    )


def enlarged(body: Body) -> bool:
    """Whether the heart counts as cardiomegaly."""
    return body.heart > 0.5


def draw_case(seed: int, item: Plan) -> tuple[Case, np.random.Generator]:
    """Draw one image of a patient; the generator returned goes on to render it."""
    body = draw_body(seed, item.patient)
    rng = _stream(seed, _IMAGE, item.index)
    acute = draw_acute(rng, enlarged(body))
    labels = (("Cardiomegaly",) if enlarged(body) else ()) + acute
    view = "PA" if rng.random() < 0.6 else "AP"
    if _stream(seed, _VIEW, item.index).random() < LATERAL:
        view = "LATERAL"
    erect = view != "AP"
    both = rng.random() < 0.3
    heights = rng.uniform(65, 150, 2) * (np.array([1, 1]) if both else np.eye(2)[rng.integers(2)])
    side = "RL"[rng.integers(2)]
    state = State(
        breath=rng.normal(0 if erect else 9, 9),
        left_lower=rng.uniform(5, 17),
        bubble=rng.uniform(13, 27) if rng.random() < (0.6 if erect else 0.35) else 0.0,
        # 18 to 30 mm wide: in 128 pixels smaller ones are taken for vessels.
        nodules=tuple(rng.uniform(9, 15, rng.integers(1, 3)).tolist()) if "Nodule" in acute else (),
        effusion=tuple(heights.tolist()) if "Effusion" in acute else (0.0, 0.0),
        pneumothorax=(side, rng.uniform(0.70, 0.86)) if "Pneumothorax" in acute else ("", 1.0),
    )
    yaw, pixel = rng.normal(0, 0.035 if erect else 0.06), rng.uniform(400, 430) / SIZE
    thick, middle = body.depth, -4.0
    if view == "LATERAL":  # its field fits the chest's height and depth
        pixel *= body.reach / 325
        thick, middle = body.width, 0.06 * body.reach
    rays = projection.cone_beam(
        view,
        distance=1800.0 if erect else rng.uniform(1000, 1100),
        gap=thick + body.wall + rng.uniform(15, 40),
        pixel=pixel,
        size=SIZE,
        turn=projection.rotation(yaw, rng.normal(0, 0.015 if erect else 0.03)),
        shift=(rng.normal(0, 6), rng.normal(middle, 8)),
    )
    return Case(item, body, state, rays, view, labels or ("No Finding",), yaw, pixel), rng


def draw_acute(rng: np.random.Generator, heart: bool) -> tuple[str, ...]:
    """Findings of one image that come and go: none, one, or rarely two."""
    how_many = np.searchsorted([0.80, 0.99] if heart else [0.525, 0.972], rng.random(), side="right")
    return tuple(ACUTE[k] for k in sorted(rng.permutation(len(ACUTE))[:how_many]))


def render(seed: int, item: Plan) -> tuple[np.ndarray, Case, film.Film, np.random.Generator]:
    """The displayed image (256, 256) float32 in 0..1 (bone bright), with its case, truth and generator."""
    case, rng = draw_case(seed, item)
    shot = film.integrate(case.rays, case.body, case.state, rng)
    side_on = case.view == "LATERAL"
    field = film.shutters(shot.integral, rng) if side_on else (0, SIZE)
    film.mark(shot.integral, rng, "L" if side_on else "LR", field, stroke=3 if side_on else 2)
    noise = rng.uniform(0.6e4, 3e4) if case.view == "AP" else rng.uniform(1.5e4, 6e4)
    scatter = rng.uniform(0.1, 0.4)
    if side_on:  # four times the exposure, and less local contrast for so wide a range
        image = film.develop(shot, rng, noise=4 * noise, scatter=scatter, dark=15, local=0.8)
    else:
        image = film.develop(shot, rng, noise=noise, scatter=scatter)
    film.collimate(image, rng)
    image[:, : field[0]] = image[:, field[1] :] = 0
    return image, case, shot, rng


def truth_masks(seed: int, index: int) -> dict[str, np.ndarray]:
    """Truth of image ``index`` of ``seed``: ``lungs`` (aerated, more than 12 mm of it) and ``heart`` (its shadow).

    Both are (256, 256) bool, in the image's own frame. Raises ValueError for a negative index.
    """
    if index < 0:
        raise ValueError(f"image index must not be negative, got {index}")
    shot = render(seed, plan(seed, index + 1)[index])[2]
    return {"lungs": shot.lungs, "heart": shot.heart}


def uid(seed: int, *parts: object) -> str:
    """A DICOM UID under 2.25 that depends on the seed and ``parts`` alone."""
    digest = hashlib.sha256(repr((_UID, seed, *parts)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:15], 'big')}"


def dataset(seed: int, image: np.ndarray, case: Case, rng: np.random.Generator) -> FileDataset:
    """Wrap a displayed image (0..1) as 12-bit DICOM, in one of the ways that archives hold such films."""
    item, body = case.plan, case.body
    storage = (
        (DigitalXRayImageStorageForPresentation, "DX")
        if rng.random() < 0.6
        else (ComputedRadiographyImageStorage, "CR")
    )
    inverse, windowed, rescaled = rng.random(3) < (0.3, 0.9, 0.1)
    black = rng.uniform(0, 250)
    white = rng.uniform(3700, 4095)
    stored = np.clip(np.rint(black + (white - black) * image), 0, 4095).astype(np.uint16)
    stored = 4095 - stored if inverse else stored
    slope, intercept = (0.5, 100.0) if rescaled else (1.0, 0.0)

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = storage[0]
    meta.MediaStorageSOPInstanceUID = uid(seed, "image", item.index)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageType = ["DERIVED", "PRIMARY"]
    ds.SOPClassUID, ds.Modality = storage
    ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID = uid(seed, "study", item.index)
    ds.SeriesInstanceUID = uid(seed, "series", item.index)
    ds.StudyDate = ds.ContentDate = f"{2000 + item.follow_up}0101"
    ds.StudyTime = ds.ContentTime = "000000"
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = str(item.index), 1, 1
    ds.AccessionNumber = ds.ReferringPhysicianName = ""
    ds.Manufacturer = "scansynth"
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.PatientID = f"PHANTOM-{item.patient:08d}"
    ds.PatientName = f"Phantom^{item.patient:08d}"
    ds.PatientBirthDate = ""
    ds.PatientSex, ds.PatientAge = "F" if body.female else "M", f"{age(case):03d}Y"
    ds.BodyPartExamined, ds.ImageLaterality = "CHEST", "U"
    side_on = case.view == "LATERAL"  # the left side to the detector, the patient facing the picture's left
    ds.ViewPosition, ds.PatientOrientation = ("LL", ["P", "F"]) if side_on else (case.view, ["L", "F"])
    ds.ImageComments = "Computed phantom, not a patient"
    ds.DerivationDescription = "Line integrals through a mathematical thorax"
    ds.DistanceSourceToDetector = f"{abs(case.rays.distance):.1f}"
    ds.PixelSpacing = ds.ImagerPixelSpacing = [f"{case.pixel:.6f}"] * 2
    ds.SamplesPerPixel, ds.Rows, ds.Columns = 1, SIZE, SIZE
    ds.PhotometricInterpretation = "MONOCHROME1" if inverse else "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", 1 if inverse else -1
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = slope, intercept, "US"
    ds.PresentationLUTShape = "INVERSE" if inverse else "IDENTITY"
    ds.BurnedInAnnotation, ds.LossyImageCompression = "NO", "00"
    if windowed:
        middle = 0.5 * (black + white)
        middle = 4095 - middle if inverse else middle
        ds.WindowCenter = f"{middle * slope + intercept:.1f}"
        ds.WindowWidth = f"{(white - black) * slope:.1f}"
    ds.PixelData = stored.astype("<u2").tobytes()
    return ds


def age(case: Case) -> int:
    """Age at this image: one year passes between images."""
    return min(case.body.age + case.plan.follow_up, 99)


def make(seed: int, folder: Path, item: Plan) -> tuple[str, dict]:
    """Write one image; returns its line of the label table and its row of the truth table."""
    image, case, shot, rng = render(seed, item)
    target = folder / "images" / f"{item.name}.dcm"
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset(seed, image, case, rng), enforce_file_format=True)
    replace(target, buffer.getvalue())
    spacing = f"{case.pixel:.6f}"
    line = ",".join(
        map(
            str,
            (
                target.name,
                "|".join(case.labels),
                item.follow_up,
                item.patient,
                age(case),
                "MF"[case.body.female],
                case.view,
                SIZE,
                SIZE,
                spacing,
                spacing,
            ),
        )
    )
    return line, truth(case, shot)


def truth(case: Case, shot: film.Film) -> dict:
    """What is known of one image, flat, for a table; positions are fractions of the image, blank where absent."""
    known = dict(shot.truth)
    nodules = known.pop("nodules")
    row = {"image": f"{case.plan.name}.dcm", "view": case.view}
    row |= {k: "" if v is None else round(v, 4) for k, v in known.items()}
    for k in range(2):
        spot = nodules[k] if k < len(nodules) else ("",) * 4
        for name, value in zip(("x", "y", "radius", "radius_mm"), spot, strict=True):
            row[f"nodule_{k + 1}_{name}"] = value if value == "" else round(float(value), 4)
    row["pneumothorax_side"] = case.state.pneumothorax[0]
    row["pneumothorax_lung_size"] = round(float(case.state.pneumothorax[1]), 4)
    row["rotation_deg"] = round(float(np.degrees(case.yaw)), 3)
    row["inspiration_mm"] = round(-float(case.state.breath), 3)
    return row


def replace(target: Path, data: bytes) -> None:
    """Write ``data`` so that ``target`` is never seen half written."""
    temporary = target.with_name(f".{target.name}.part")
    temporary.write_bytes(data)
    temporary.replace(target)


def generate(folder: Path, *, count: int, seed: int, workers: int | None = None) -> None:
    """Write ``count`` phantom radiographs with their label and truth tables.

    Makes ``folder/images/<patient>_<follow-up>.dcm`` (256 x 256, 12 bits), ``folder/Data_Entry_2017_v2020.csv`` in the
    NIH columns and ``folder/truth.csv``. ``workers`` processes are used (default: one per core granted); the bytes do
    not depend on it. Raises ValueError if ``count`` or ``workers`` is below 1.
    """
    workers = cores.granted() if workers is None else workers
    if count < 1 or workers < 1:
        raise ValueError(f"count and workers must be at least 1, got {count} and {workers}")
    folder = Path(folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    items, job = plan(seed, count), partial(make, seed, folder)
    if workers == 1:
        with threadpool_limits(1):
            made = [job(item) for item in items]
    else:
        with processes.pool(workers) as pool:
            made = list(pool.map(job, items, chunksize=8))
    lines, rows = zip(*made, strict=True)
    replace(folder / "Data_Entry_2017_v2020.csv", ("\n".join([COLUMNS, *lines]) + "\n").encode())
    table = io.StringIO()
    writer = csv.DictWriter(table, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    replace(folder / "truth.csv", table.getvalue().encode())

"""Brain MRI phantoms: T1, T2 and FLAIR volumes of computed heads, with tumour masks, in BraTS 2021's layout and names.

Everything about a subject follows from (seed, subject), so any count and any number of workers give the same bytes.
"""

import csv
import gzip
import io
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine
from threadpoolctl import threadpool_limits

from scansynth import cores
from scansynth import workers as processes
from scansynth.acquire.phantoms import brain_anatomy as anatomy
from scansynth.acquire.phantoms.brain_anatomy import Head, Tumour
from scansynth.acquire.phantoms.brain_scan import Scanner, draw_scanner, scan
from scansynth.acquire.phantoms.brain_shapes import GRID, MM
from scansynth.files import atomic, write_text

SHAPE = (120, 120, 78)  # voxels to the left, to the back, up
AFFINE = np.array([[-MM, 0, 0, 0], [0, -MM, 0, MM * (SHAPE[1] - 1)], [0, 0, MM, 0], [0, 0, 0, 1]])  # as BraTS has it
LABELS = {1: ("necrosis", "solid"), 2: ("oedema",), 4: ("rim",)}
_SUBJECT, _SCAN = range(2)  # keys that keep the random streams apart


@dataclass(frozen=True)
class Subject:
    """A subject: the contrasts and labels are int16, the shares of each tissue float32, all of shape ``SHAPE``."""

    head: Head
    scanner: Scanner
    shares: dict[str, np.ndarray]
    volumes: dict[str, np.ndarray]
    labels: np.ndarray


def name(index: int) -> str:
    """The folder of subject ``index``, as BraTS 2021 names it."""
    return f"BraTS2021_{index:05}"


def draw(seed: int, index: int) -> tuple[Head, Scanner]:
    """A subject's anatomy and scanner; about half have a tumour. Raises ValueError for a negative index."""
    if index < 0:
        raise ValueError(f"subject index must not be negative, got {index}")
    rng = _stream(seed, _SUBJECT, index)
    age = int(np.clip(rng.normal(55, 17), 19, 90))
    female = bool(rng.random() < 0.5)
    shrunk = min(max((age - 40) / 50, 0), 1) + rng.normal(0, 0.12)
    size = np.clip(rng.normal(0.955 if female else 0.985, 0.018), 0.93, 1.02)
    head = Head(
        age=age,
        female=female,
        scale=size * np.clip(rng.normal(1, 0.015, 3), 0.97, 1.03),
        narrowing=rng.uniform(0.1, 0.22),
        sulci=float(np.clip(0.4 + 0.5 * shrunk + rng.normal(0, 0.08), 0.25, 1.1)),
        depth=rng.uniform(16, 21),
        ventricles=float(np.clip(1 + 0.6 * shrunk + rng.normal(0, 0.15), 0.7, 2)),
        ribbon=rng.uniform(2.3, 2.8) - 0.2 * shrunk,
        lesions=float(np.clip((age - 45) / 45 + rng.normal(0, 0.25), 0, 1.2)),
        tumour=draw_tumour(rng) if rng.random() < 0.5 else None,
        turn=rng.normal(0, 0.04, 3),
        shift=rng.normal(0, (2, 2, 1)),
        fields=int(rng.integers(2**31)),
    )
    return head, draw_scanner(rng)


def draw_tumour(rng: np.random.Generator) -> Tumour:
    """A tumour somewhere in a hemisphere, nowhere near the surface with its middle; a third do not enhance."""
    radius = rng.uniform(8, 22)
    while True:
        centre = np.array([rng.uniform(16, 48), rng.uniform(-75, 45), rng.uniform(-5, 55)])
        if (((centre - [0, -18, 2]) / (np.array([62, 84, 68]) - radius / 2)) ** 2).sum() < 1:
            break
    centre[0] *= rng.choice((-1, 1))
    enhances = rng.random() < 2 / 3
    return Tumour(
        centre=centre,
        radius=radius,
        necrotic=rng.uniform(0.3, 0.75) if enhances else None,
        oedema=rng.uniform(4, 16),
        push=rng.uniform(0.1, 0.3) * radius,
    )


def render(seed: int, index: int) -> Subject:
    """Make subject ``index`` of ``seed``."""
    head, scanner = draw(seed, index)
    shares = anatomy.tissues(head)
    brain = sum(shares.values()) > 0.5
    volumes = scan(scanner, shares, brain, _stream(seed, _SCAN, index))
    diseased = np.stack([sum(shares[tissue] for tissue in tissues) for tissues in LABELS.values()])
    labels = np.where(diseased.sum(0) > 0.5, np.array(list(LABELS), np.int16)[diseased.argmax(0)], np.int16(0))
    return Subject(
        head,
        scanner,
        {tissue: _framed(share) for tissue, share in shares.items()},
        {contrast: _framed(volume) for contrast, volume in volumes.items()},
        _framed(labels * brain),
    )


def _framed(volume: np.ndarray) -> np.ndarray:
    """A volume of the grid in the middle of the image."""
    return np.pad(volume, [(more // 2, more - more // 2) for more in np.subtract(SHAPE, GRID)])


def tissues(seed: int, index: int) -> dict[str, np.ndarray]:
    """Shares of each of ``brain_anatomy.TISSUES`` in each voxel of a subject, in the images' own frame.

    They are float32 of shape ``SHAPE`` and add up to 1 in the head, to less at its surface, and to 0 outside.
    """
    return {tissue: _framed(share) for tissue, share in anatomy.tissues(draw(seed, index)[0]).items()}


def measure(subject: Subject) -> dict[str, int | float | str]:
    """What is known of a subject, flat, for a table.

    Volumes (``ml``) are of shares, those of the tumour of labels (core: 1 and 4, oedema: 2). The brain is all but CSF,
    gray matter has the nuclei, white matter its lesions, CSF the ventricles. The tumour's place is the middle of its
    core in the NIfTI files' coordinates (mm), its hemisphere the patient's.
    """
    head, scanner, labels = subject.head, subject.scanner, subject.labels
    millilitre = MM**3 / 1000
    ml = {tissue: float(share.sum(dtype=np.float64)) * millilitre for tissue, share in subject.shares.items()}
    core = np.isin(labels, (1, 4))
    place = apply_affine(AFFINE, np.argwhere(core).mean(0)) if head.tumour else ("", "", "")
    known = {"age": head.age, "sex": "MF"[head.female], "tumour": int(head.tumour is not None)}
    known |= {
        "brain_ml": sum(ml.values()) - ml["csf"] - ml["ventricles"],
        "csf_ml": ml["csf"] + ml["ventricles"],
        "white_ml": ml["white"] + ml["lesion"],
        "gray_ml": ml["gray"] + ml["striatum"] + ml["pallidum"],
        "ventricles_ml": ml["ventricles"],
        "lesions_ml": ml["lesion"],
        "tumour_core_ml": int(core.sum()) * millilitre,
        "oedema_ml": int((labels == 2).sum()) * millilitre,
        "hemisphere": ("left" if head.tumour.centre[0] > 0 else "right") if head.tumour else "",
        "enhancing": int(head.tumour.necrotic is not None) if head.tumour else "",
        **dict(zip(("tumour_x_mm", "tumour_y_mm", "tumour_z_mm"), place, strict=True)),
        "bias": scanner.bias,
        "noise": scanner.noise,
        "blur_mm": scanner.blur * MM,
    }
    for contrast, sequence in scanner.sequences.items():
        known |= {f"{contrast}_tr_ms": sequence.tr, f"{contrast}_te_ms": sequence.te}
        known |= {f"{contrast}_ti_ms": sequence.ti or "", f"{contrast}_gain": scanner.gain[contrast]}
    return {key: round(float(value), 4) if isinstance(value, float) else value for key, value in known.items()}


def make(seed: int, folder: Path, index: int) -> dict[str, int | float | str]:
    """Write one subject; returns its row of the truth table."""
    subject = render(seed, index)
    for kind, voxels in (*subject.volumes.items(), ("seg", subject.labels)):
        image = nib.Nifti1Image(voxels, AFFINE)
        image.header.set_xyzt_units("mm")
        with atomic(folder / name(index) / f"{name(index)}_{kind}.nii.gz") as file:
            # Without the clock and the name that gzip would write into the file.
            file.write_bytes(gzip.compress(image.to_bytes(), compresslevel=4, mtime=0))
    return {"subject": name(index)} | measure(subject)


def generate(folder: Path, *, count: int, seed: int, workers: int | None = None) -> None:
    """Write ``count`` subjects and ``truth.csv``, what is known of them (see ``measure``).

    Makes ``folder/BraTS2021_00000/BraTS2021_00000_{t1,t2,flair,seg}.nii.gz`` and so on: 120 x 120 x 78 voxels of 2 mm,
    int16, 0 outside the brain, labels as in BraTS (1 necrotic or non-enhancing core, 2 oedema, 4 enhancing rim).
    ``workers`` processes are used (default: one per core granted); the bytes do not depend on it. Raises ValueError if
    ``count`` or ``workers`` is below 1.
    """
    workers = cores.granted() if workers is None else workers
    if count < 1 or workers < 1:
        raise ValueError(f"count and workers must be at least 1, got {count} and {workers}")
    job = partial(make, seed, Path(folder))
    if workers == 1:
        with threadpool_limits(1):
            rows = [job(index) for index in range(count)]
    else:
        with processes.pool(workers) as pool:
            rows = list(pool.map(job, range(count)))
    table = io.StringIO()
    writer = csv.DictWriter(table, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(Path(folder) / "truth.csv", table.getvalue())


def _stream(*key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(key))

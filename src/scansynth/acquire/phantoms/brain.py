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
from threadpoolctl import threadpool_limits

from scansynth import cores
from scansynth import workers as processes
from scansynth.acquire.phantoms import brain_anatomy as anatomy
from scansynth.acquire.phantoms.brain_anatomy import MM, SHAPE, Head, Tumour
from scansynth.files import atomic, write_text

# T1 and T2 (ms) and proton density (share of water's) at 1.5 T, as in Stanisz et al. 2005 (Magn. Reson. Med. 54) and
# Wansapura et al. 1999 (J. Magn. Reson. Imaging 9), rounded; of tumours from the ranges in the literature.
TISSUES = {
    "csf": (4000.0, 2000.0, 1.00),
    "gray": (1050.0, 100.0, 0.82),
    "white": (620.0, 78.0, 0.70),
    "deep": (900.0, 85.0, 0.78),
    "lesion": (1150.0, 150.0, 0.82),  # white-matter hyperintensities
    "oedema": (1250.0, 170.0, 0.86),
    "rim": (1300.0, 145.0, 0.86),
    "core": (2300.0, 330.0, 0.93),
}
LABELS = {"core": 1, "oedema": 2, "rim": 4}
_SUBJECT, _NOISE = range(2)  # keys that keep the random streams apart


@dataclass(frozen=True)
class Scanner:
    """How a subject was scanned."""

    gain: np.ndarray  # of t1, t2, flair
    bias: float  # standard deviation of the logarithm of the receive field
    noise: float  # standard deviation of each part of the complex signal, as a share of white matter in T1
    blur: float  # voxels, standard deviation of the point spread


def spin_echo(t1: float, t2: float, density: float, *, tr: float, te: float) -> float:
    """Signal of a spin echo; times in ms."""
    return density * (1 - np.exp(-tr / t1)) * np.exp(-te / t2)


def inversion_recovery(t1: float, t2: float, density: float, *, tr: float, ti: float, te: float) -> float:
    """Signal (magnitude) of a spin echo after an inversion; times in ms."""
    return density * abs(1 - 2 * np.exp(-ti / t1) + np.exp(-tr / t1)) * np.exp(-te / t2)


# FLAIR's inversion time nulls CSF: ti = T1 (ln 2 - ln(1 + exp(-tr / T1))).
CONTRASTS = {
    "t1": partial(spin_echo, tr=520.0, te=10.0),
    "t2": partial(spin_echo, tr=4500.0, te=95.0),
    "flair": partial(inversion_recovery, tr=9000.0, ti=2370.0, te=115.0),
}


def name(index: int) -> str:
    """The folder of subject ``index``, as BraTS 2021 names it."""
    return f"BraTS2021_{index:05}"


def draw(seed: int, index: int) -> tuple[Head, Scanner]:
    """A subject's anatomy and scan; about half have a tumour."""
    rng = _stream(seed, _SUBJECT, index)
    age = int(np.clip(rng.normal(55, 17), 19, 90))
    female = bool(rng.random() < 0.5)
    shrunk = np.clip((age - 40) / 50, 0, 1) + rng.normal(0, 0.12)
    size = rng.normal(0.965 if female else 1.0, 0.03)
    tumour = None
    if rng.random() < 0.5:
        radius = rng.uniform(9, 23)
        tumour = Tumour(
            centre=np.array([rng.choice((-1, 1)) * rng.uniform(20, 44), rng.uniform(-44, 44), rng.uniform(-4, 40)]),
            radius=radius,
            necrotic=rng.uniform(0.3, 0.75),
            oedema=rng.uniform(4, 18),
            push=rng.uniform(0.1, 0.3) * radius,
        )
    head = Head(
        age=age,
        female=female,
        half_axes=np.array([68, 86, 66]) * size * rng.normal(1, 0.025, 3),
        narrowing=rng.uniform(0.08, 0.2),
        sulci=float(np.clip(0.25 + 0.9 * shrunk + rng.normal(0, 0.12), 0.1, 1.6)),
        ventricles=float(np.clip(0.85 + 0.5 * shrunk + rng.normal(0, 0.12), 0.6, 1.7)),
        ribbon=rng.uniform(2.7, 3.4) - 0.3 * shrunk,
        lesions=float(np.clip((age - 48) / 40 + rng.normal(0, 0.25), 0, 1.2)),
        tumour=tumour,
        turn=rng.normal(0, 0.05, 3),
        shift=rng.normal(0, 2.5, 3),
        fields=int(rng.integers(2**31)),
    )
    scanner = Scanner(
        gain=rng.uniform(600, 2400, 3),
        bias=rng.uniform(0.03, 0.12),
        noise=rng.uniform(0.015, 0.04),
        blur=rng.uniform(0.35, 0.6),
    )
    return head, scanner


def tissues(seed: int, index: int) -> dict[str, np.ndarray]:
    """Shares of each tissue (``TISSUES``) in each voxel, float32 of shape ``SHAPE``; their sum is 1 in the brain."""
    return anatomy.tissues(draw(seed, index)[0])


def render(seed: int, index: int) -> tuple[dict[str, np.ndarray], np.ndarray, dict]:
    """The contrasts and the labels of a subject, int16 of shape ``SHAPE``, and its row of the truth table."""
    head, scanner = draw(seed, index)
    shares = anatomy.tissues(head)
    brain = sum(shares.values()) > 0.5
    rng = _stream(seed, _NOISE, index)
    spread = np.float32(scanner.noise * CONTRASTS["t1"](*TISSUES["white"]))
    volumes = {}
    for contrast, gain in zip(CONTRASTS, scanner.gain, strict=True):
        clean = sum(share * np.float32(CONTRASTS[contrast](*TISSUES[tissue])) for tissue, share in shares.items())
        field = np.exp(np.float32(scanner.bias) * anatomy.field(rng, 70.0))
        signal = (anatomy.smooth(clean, scanner.blur) * field)[brain]
        real, imaginary = spread * rng.standard_normal((2, len(signal)), dtype=np.float32)
        volumes[contrast] = np.zeros(SHAPE, np.int16)
        # Rician noise; only what lies outside the brain is 0.
        volumes[contrast][brain] = np.maximum(np.rint(gain * np.hypot(signal + real, imaginary)), 1)
    labels = np.zeros(SHAPE, np.int16)
    for tissue, label in LABELS.items():
        labels[brain & (shares[tissue] > 0.5)] = label
    return volumes, labels, _truth(index, head, scanner, shares, labels)


def _truth(index: int, head: Head, scanner: Scanner, shares: dict, labels: np.ndarray) -> dict:
    millilitres = MM**3 / 1000
    row = {"subject": name(index), "age": head.age, "sex": "MF"[head.female], "tumour": int(head.tumour is not None)}
    row |= {f"{tissue}_ml": round(float(share.sum()) * millilitres, 2) for tissue, share in shares.items()}
    row |= {f"label_{label}_ml": round(int((labels == label).sum()) * millilitres, 2) for label in LABELS.values()}
    centre = ("", "", "") if head.tumour is None else (round(float(mm), 1) for mm in head.tumour.centre)
    row |= dict(zip(("tumour_left_mm", "tumour_posterior_mm", "tumour_superior_mm"), centre, strict=True))
    return row | {"bias": round(scanner.bias, 4), "noise": round(scanner.noise, 4)}


def make(seed: int, folder: Path, index: int) -> dict:
    """Write one subject; returns its row of the truth table."""
    volumes, labels, row = render(seed, index)
    affine = np.diag([-MM, -MM, MM, 1.0])  # LPS, as BraTS has it
    affine[:3, 3] = np.array([1, 1, -1]) * MM * (np.array(SHAPE) - 1) / 2
    for kind, voxels in (*volumes.items(), ("seg", labels)):
        image = nib.Nifti1Image(voxels, affine)
        image.header.set_xyzt_units("mm")
        with atomic(folder / name(index) / f"{name(index)}_{kind}.nii.gz") as partial_file:
            # Without the clock and the name that gzip would write into the file.
            partial_file.write_bytes(gzip.compress(image.to_bytes(), compresslevel=4, mtime=0))
    return row


def generate(folder: Path, *, count: int, seed: int, workers: int | None = None) -> None:
    """Write ``count`` subjects and ``truth.csv``, what is known of them.

    Makes ``folder/BraTS2021_00000/BraTS2021_00000_{t1,t2,flair,seg}.nii.gz`` and so on: 120 x 120 x 78 voxels of 2 mm,
    int16, 0 outside the brain, labels as in BraTS (1 necrotic core, 2 oedema, 4 enhancing rim). ``workers`` processes
    are used (default: one per core granted); the bytes do not depend on it. Raises ValueError if ``count`` or
    ``workers`` is below 1.
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
    writer = csv.DictWriter(table, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(Path(folder) / "truth.csv", table.getvalue())


def _stream(*key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(key))

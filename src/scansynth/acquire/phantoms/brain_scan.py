"""How a computed head looks in MR: signals of its tissues, receive field, point spread and noise."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from scansynth.acquire.phantoms.brain_shapes import field

# T1 and T2 (ms) and proton density (share of water's) at 1.5 T. CSF, gray and white matter: those of the BrainWeb
# phantom (Collins et al. 1998, IEEE Trans. Med. Imaging 17:463). The others lie between or beyond them by choice:
# nuclei darker in T2 for their iron, diseased tissue with the more water the worse it is.
TISSUES = {
    "csf": (2569.0, 329.0, 1.00),
    "ventricles": (2569.0, 329.0, 1.00),
    "gray": (833.0, 83.0, 0.86),
    "striatum": (760.0, 76.0, 0.84),
    "pallidum": (620.0, 66.0, 0.80),
    "white": (500.0, 70.0, 0.77),
    "lesion": (900.0, 120.0, 0.86),
    "oedema": (1100.0, 130.0, 0.90),
    "rim": (1000.0, 110.0, 0.88),
    "necrosis": (1700.0, 220.0, 0.95),
    "solid": (1200.0, 150.0, 0.91),
}


@dataclass(frozen=True)
class Sequence:
    """A spin echo, after an inversion where ``ti`` is given; times in ms."""

    tr: float
    te: float
    ti: float | None = None

    def signal(self, tissue: str) -> float:
        """Magnitude of a tissue's signal; water's whole magnetisation gives 1."""
        t1, t2, density = TISSUES[tissue]
        recovered = 1 - np.exp(-self.tr / t1)
        if self.ti is not None:
            recovered = abs(1 - 2 * np.exp(-self.ti / t1) + np.exp(-self.tr / t1))
        return float(density * recovered * np.exp(-self.te / t2))


@dataclass(frozen=True)
class Scanner:
    """How a subject was scanned."""

    sequences: dict[str, Sequence]  # of each contrast
    gain: dict[str, float]  # of each contrast; the unit of MR signals is arbitrary
    bias: float  # standard deviation of the logarithm of the receive field
    noise: float  # standard deviation of each part of the complex signal, as a share of white matter's
    blur: float  # standard deviation of the point spread, voxels


def draw_scanner(rng: np.random.Generator) -> Scanner:
    """Draw a scanner; its FLAIR nulls CSF."""
    tr, t1 = rng.uniform(8000, 11000), TISSUES["csf"][0]
    inverted = rng.random() < 0.5  # or the plain spin echo, whose contrast is less
    sequences = {
        "t1": Sequence(2000, 4, rng.uniform(780, 950)) if inverted else Sequence(rng.uniform(380, 520), 9),
        "t2": Sequence(rng.uniform(4000, 6000), rng.uniform(85, 105)),
        "flair": Sequence(tr, rng.uniform(105, 130), t1 * (np.log(2) - np.log1p(np.exp(-tr / t1)))),
    }
    return Scanner(
        sequences=sequences,
        gain={contrast: rng.uniform(1000, 4000) for contrast in sequences},
        bias=rng.uniform(0.03, 0.10),
        noise=rng.uniform(0.01, 0.035),
        blur=rng.uniform(0.35, 0.55),
    )


def scan(
    scanner: Scanner, shares: dict[str, np.ndarray], brain: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Each contrast of a head, int16 of the grid's shape: 1 or more in ``brain``, 0 outside."""
    volumes = {}
    for contrast, sequence in scanner.sequences.items():
        clean = sum(share * np.float32(sequence.signal(tissue)) for tissue, share in shares.items())
        received = np.exp(np.float32(scanner.bias) * field(rng, 50))
        signal = (ndimage.gaussian_filter(clean, scanner.blur, truncate=3) * received)[brain]
        spread = np.float32(scanner.noise * sequence.signal("white"))
        real, imaginary = spread * rng.standard_normal((2, len(signal)), dtype=np.float32)
        volumes[contrast] = np.zeros(brain.shape, np.int16)
        # The magnitude of a complex signal has Rician noise (Gudbjartsson and Patz 1995, Magn. Reson. Med. 34:910).
        magnitude = np.rint(np.float32(scanner.gain[contrast]) * np.hypot(signal + real, imaginary))
        volumes[contrast][brain] = np.clip(magnitude, 1, np.iinfo(np.int16).max)
    return volumes

"""One exposure of the phantom: every organ's line integral, the truth that goes with it, and the displayed film."""

from dataclasses import dataclass

import numpy as np

from scansynth.acquire.phantoms import frontal, lateral, skeleton, thorax
from scansynth.acquire.phantoms.projection import Rays, chord, expose, smooth
from scansynth.acquire.phantoms.thorax import FAT, SOFT, Body, State

LETTERS = {  # lead side markers, 5 x 7
    "L": ("10000", "10000", "10000", "10000", "10000", "10000", "11111"),
    "R": ("11110", "10001", "10001", "11110", "10100", "10010", "10001"),
}


@dataclass
class Film:
    """Line integrals (N, N) float32 with what is known of them: masks (N, N) bool and measurements.

    ``lungs`` is aerated lung, ``heart`` its shadow, ``solid`` the body where there is none.
    """

    integral: np.ndarray
    lungs: np.ndarray
    heart: np.ndarray
    solid: np.ndarray
    truth: dict


def integrate(rays: Rays, body: Body, state: State, rng: np.random.Generator) -> Film:
    """Line integrals of attenuation along ``rays`` and the truth of the projection; ``rng`` places nodules."""
    chest = (lateral if rays.along == 0 else frontal).Chest(rays, body, state)
    # The chord of a circle less that of one a fat layer smaller.
    fat = chest.half - np.sqrt(np.maximum(chest.half**2 - chest.GIRTH * body.fat, 0))
    airs = [cavity.air() for cavity in chest.cavities]
    lung, gas = (sum(parts) for parts in zip(*airs, strict=True))
    total = 2 * (SOFT * chest.half - (SOFT - FAT) * fat) + chest.breasts()
    shells = 0.0
    for cavity, air in zip(chest.cavities, airs, strict=True):
        total -= (SOFT - cavity.parenchyma) * air[0] + SOFT * air[1]
        shells += SOFT * cavity.shell(*air)
    total += shells - 0.6 * SOFT * sum(chord(rays, *bubble) for bubble in thorax.stomach_gas(body, state))

    tubes = chest.tubes()
    skeleton.bones(body, tubes, raised=chest.RAISED)
    skeleton.airways(body, tubes)
    total += tubes.image() + chest.axial_bones()
    tubes = chest.tubes()
    skeleton.vessels(body, state, tubes)
    total += tubes.image() * np.clip(lung / chest.VESSELS, 0, 1)

    truth = measure(chest, body) | {"nodules": []}
    for radius in state.nodules:
        side = rng.integers(len(airs))
        centre, where = chest.cavities[side].place(airs[side][0], radius, rng)
        # Calcified, and shown alike whatever their size: of soft tissue alone they would be lost among the vessels.
        contrast = rng.uniform(0.88, 1.32) / (2 * radius)
        total += contrast * chord(rays, centre, np.eye(3) / radius**2)
        truth["nodules"].append((*where, radius))
    return Film(np.maximum(total, 0), lung > 12, chest.heart_shadow, (chest.half > 5) & (lung + gas < 12), truth)


def measure(chest: frontal.Chest | lateral.Chest, body: Body) -> dict:
    """Cardiothoracic ratio in the projection (None side on), widths in 3-D, and the volume of any effusion."""
    right, left = chest.effusions()
    return {
        "cardiothoracic_ratio": chest.cardiothoracic_ratio(),
        "heart_width_mm": 2 * body.heart * body.width,
        "thorax_width_mm": 2 * body.width,
        "effusion_right_ml": right,
        "effusion_left_ml": left,
    }


def develop(
    film: Film, rng: np.random.Generator, *, noise: float, scatter: float, dark: float = 35, local: float = 1.0
) -> np.ndarray:
    """The film as a reader sees it: (N, N) float32 in 0..1, bone bright, lung dark.

    Beer-Lambert and detector, then local contrast is raised and the log signal passes a sigmoid set, like automatic
    exposure control, by the lungs and the rest of the trunk. ``dark`` is the percentile of the lungs that is shown
    dark, ``local`` scales the rise in local contrast.
    """
    seen = expose(film.integral, rng, scatter=scatter, photons=noise, sharpness=rng.uniform(0.3, 0.7))
    broad = smooth(seen, 22.0)
    seen = broad + local * rng.uniform(1.2, 1.8) * (seen - broad)
    lung, dense = np.percentile(seen[film.lungs], dark), np.percentile(seen[film.solid], 80)
    black, white = rng.uniform(0.26, 0.42), rng.uniform(0.78, 0.88)
    low, high = (np.log(p / (1 - p)) for p in (black, white))
    gain = (high - low) / max(dense - lung, 0.8)
    return 1 / (1 + np.exp(float(lung * gain - low) - seen * float(gain)))


def shutters(integral: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    """First and last column of a field that fits the body, as technicians collimate a lateral."""
    body = np.nonzero((integral > 0.2).any(0))[0][[0, -1]]
    left, right = body + rng.integers(4, 16, 2) * (-1, 1)
    return max(int(left), 0), min(int(right), integral.shape[1])


def mark(integral: np.ndarray, rng: np.random.Generator, letters: str, field: tuple[int, int], *, stroke: int) -> None:
    """Lay a lead letter on some films: one of ``letters``, in the upper corner of that side of the ``field``.

    Its ``stroke`` is in pixels: in the open beam a thin one would be lost in the detector's blur.
    """
    if rng.random() > 0.6:
        return
    letter = letters[rng.integers(2) % len(letters)]
    shape = np.kron(np.array([[int(c) for c in row] for row in LETTERS[letter]]), np.ones((stroke, stroke)))
    row, column = rng.integers(8, 40), rng.integers(6, 24)
    column = field[1] - column - shape.shape[1] if letter == "L" else field[0] + column
    integral[row : row + shape.shape[0], column : column + shape.shape[1]] += 6 * shape.astype(np.float32)


def collimate(image: np.ndarray, rng: np.random.Generator) -> None:
    """Blacken a border outside the collimated field on some films, as shutters do."""
    if rng.random() > 0.25:
        return
    (rows, columns), borders = image.shape, rng.integers(0, 16, 4) * (rng.random(4) < 0.6)
    top, bottom, left, right = borders
    image[:top] = image[rows - bottom :] = 0
    image[:, :left] = image[:, columns - right :] = 0

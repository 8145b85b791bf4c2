"""A slide of a lymph node with a metastasis: how the laboratory stained it, how it was scanned, and its tumour."""

from dataclasses import dataclass

import numpy as np

# Optical densities of haematoxylin and eosin in red, green and blue as Ruifrok and Johnston measured them (Anal. Quant.
# Cytol. Histol. 23, 2001), and as another camera and laboratory give them; a slide lies between the two.
STAINS = np.array(
    [
        [[0.650, 0.704, 0.286], [0.072, 0.990, 0.105]],
        [[0.510, 0.745, 0.430], [0.250, 0.800, 0.545]],
    ]
)


@dataclass(frozen=True)
class Slide:
    """What all patches of a slide have in common.

    ``stains`` (2, 3) are the unit vectors of haematoxylin and eosin; ``strength`` (2,) multiplies their
    concentrations; ``white`` (3,) is the grey level of bare glass, ``spread`` the sigma of the lens in pixels,
    ``noise`` the sensor's in grey levels. The other numbers are relative to the usual tissue.
    """

    stains: np.ndarray
    strength: np.ndarray
    white: np.ndarray
    spread: float
    noise: float
    nucleus: float  # size of all nuclei
    tumour: float  # size of the tumour's, on top of that
    dark: float  # chromatin of the tumour
    pink: float  # eosin of the tumour's cytoplasm
    nucleoli: float
    shrinkage: float  # how often clefts part the cells
    glandular: bool


def draw_slide(rng: np.random.Generator) -> Slide:
    """Draw a slide."""
    mix = rng.uniform(0.3, 1.1)
    stains = (1 - mix) * STAINS[0] + mix * STAINS[1] + rng.normal(0, 0.02, (2, 3))
    return Slide(
        stains=stains / np.linalg.norm(stains, axis=1, keepdims=True),
        strength=rng.lognormal(0, 0.13, 2),
        white=np.clip(rng.uniform(243, 252) + rng.normal(0, 2, 3), 235, 254),
        spread=rng.uniform(0.15, 0.5),
        noise=rng.uniform(0.8, 2.2),
        nucleus=rng.lognormal(0, 0.04),
        tumour=rng.lognormal(0, 0.12),
        dark=rng.uniform(0.8, 1.3),
        pink=rng.lognormal(0, 0.15),
        nucleoli=rng.uniform(0.4, 1.6),
        shrinkage=rng.uniform(0.1, 1.3),
        glandular=bool(rng.random() < 0.3),
    )


def scan(slide: Slide, stain: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The patch (96, 96, 3) uint8 of the concentrations ``stain`` (2, 196, 196), by Beer and Lambert's law.

    The light is gathered over each pixel and spread by the lens, a binomial in both directions.
    """
    haematoxylin, eosin = (slide.stains * slide.strength[:, None]).astype(np.float32)[..., None, None]
    light = np.exp(-(haematoxylin * stain[0] + eosin * stain[1]))
    light = light[:, ::2] + light[:, 1::2]
    light = 0.25 * (light[:, :, ::2] + light[:, :, 1::2])
    side = 0.5 * slide.spread**2
    light = (1 - 2 * side) * light[:, 1:-1] + side * (light[:, 2:] + light[:, :-2])
    light = (1 - 2 * side) * light[:, :, 1:-1] + side * (light[:, :, 2:] + light[:, :, :-2])
    light = np.moveaxis(light, 0, -1) * slide.white.astype(np.float32)
    light += slide.noise * rng.standard_normal(light.shape, dtype=np.float32)
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)

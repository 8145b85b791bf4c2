"""Stain normalisation: patches of one stain, whatever the laboratory and the scanner.

The method of Macenko et al. (A method for normalizing histology slides for quantitative analysis, ISBI 2009), a patch
at a time, with the reference stains of its published implementations. Ours, since MONAI 1.6 takes eosin for
haematoxylin: it orders the two by how red their light is, and looks at their absorbances, where it is the reverse.
"""

from dataclasses import replace

import numpy as np

from scansynth.prepare.decoded import Image
from scansynth.sections import Patches

WHITE = 240  # the light that bare glass lets through
STAINED = 0.15  # optical density (natural logarithm, mean of the channels) above which a pixel is stained
LEAST = 0.05  # share of stained pixels below which the stains cannot be told
EXTREMES = (1, 99)  # percentiles of the angles between which stained pixels lie
STRONGEST = 99  # percentile of a stain's concentrations that stands for the strongest
PARALLEL = 0.05  # sine of the angle between two stains that are one
REFERENCE = np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]])  # haematoxylin, eosin: red, green, blue
REFERENCE_STRONGEST = np.array([1.9705, 1.0308])


def normalized(image: Image, patches: Patches) -> Image:
    """The image with the reference's stains, where ``patches.stain`` asks for it and it is in colour.

    It is left as it is where its stains cannot be told: see ``macenko``.
    """
    if patches.stain == "none" or len(image.pixels) != 3:
        return image
    pixels = macenko(image.pixels)
    return image if pixels is None else replace(image, pixels=pixels)


def macenko(pixels: np.ndarray) -> np.ndarray | None:
    """The image, uint8 (3, height, width), as it would look with the reference's stains; black borders stay black.

    None where too little of it is stained, or where it shows but one stain: what came of it would be made up.
    """
    inside = pixels.any(axis=0)
    density = np.maximum(-np.log((pixels[:, inside].T + 1.0) / WHITE), 0)
    stained = density[density.mean(axis=1) > STAINED]
    if len(stained) < max(LEAST * inside.sum(), 1):
        return None
    stains = stains_of(stained)
    if np.linalg.norm(np.cross(*stains)) < PARALLEL:
        return None
    unmix = np.linalg.pinv(stains)
    strongest = np.percentile(stained @ unmix, STRONGEST, axis=0)
    if strongest.min() <= 0:
        return None
    light = WHITE * np.exp(-(density @ unmix) * (REFERENCE_STRONGEST / strongest) @ REFERENCE) - 1
    result = np.zeros_like(pixels)
    result[:, inside] = np.clip(np.rint(light), 0, 255).astype(np.uint8).T
    return result


def stains_of(density: np.ndarray) -> np.ndarray:
    """The unit vectors (2, 3) of haematoxylin and eosin: the edges of the fan of the optical densities (pixels, 3)."""
    _, axes = np.linalg.eigh(density.T @ density)
    first, second = axes[:, 2] * np.sign(axes[:, 2].sum()), axes[:, 1]
    angles = np.arctan2(density @ second, density @ first)  # no density is negative: all are within 90 degrees
    edges = np.percentile(angles, EXTREMES)
    vectors = np.cos(edges)[:, None] * first + np.sin(edges)[:, None] * second
    return vectors[np.argsort(-vectors[:, 0])]  # haematoxylin takes the more of the red light

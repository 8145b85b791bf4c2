"""The parts of a brain: signed distances (mm, about; negative inside) to their surfaces.

Positions (3, ...) are in mm to the left, forward and up, in about the frame of the MNI templates, whose origin is the
anterior commissure. The brain is symmetric here, but for how the positions themselves were bent: the first coordinate
is the distance from the middle, without a sign.
"""

import numpy as np

from scansynth.acquire.phantoms.brain_shapes import chain, ellipsoid, join, meet


def floor(at: np.ndarray) -> np.ndarray:
    """Height of the cerebrum's base without the temporal lobes: the orbits' roof, then the middle, then the tent."""
    x, y, _ = at
    front = -24 + 0.004 * np.minimum(x, 40) ** 2 + 0.008 * np.maximum(y - 20, 0) ** 2
    back = -2 - 0.33 * x + 0.2 * (y + 50)
    forward = np.clip((y + 40) / 50, 0, 1)
    return back + (front - back) * forward * forward * (3 - 2 * forward)


def cerebrum(at: np.ndarray, base: np.ndarray, narrowing: float) -> np.ndarray:
    """Both hemispheres, unfolded and without the fissure between them; ``narrowing`` is the forehead's."""
    x, y, z = at
    along = (y + 22) / 90
    narrow = 1 + narrowing * np.abs(along) * np.clip(along, -0.6, 1)
    main = ellipsoid(np.stack([x * narrow, np.where(along > 0, 1, 1.12) * (y + 22), z]), (0, 0, 2), (69, 92, 76), 2.15)
    temporal = chain(at, (36, 12, -31, 14), (47, -14, -22, 19), (49, -50, -10, 17))
    medial = chain(at, (24, -4, -22, 11), (25, -34, -9, 11))
    return join(meet(main, base - z, 4), join(temporal, medial, 8), 4)


def cerebellum(at: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Its hemispheres and the vermis, below the tent."""
    lobe = ellipsoid(at, (25, -62, -31), (29, 30, 29))
    vermis = ellipsoid(at, (0, -60, -25), (13, 26, 29))
    return meet(join(lobe, vermis, 6), at[2] - base, 2)


def stem(at: np.ndarray) -> np.ndarray:
    """Midbrain, pons and medulla, with the peduncles."""
    pons = ellipsoid(at, (0, -25, -34), (17, 13, 14))
    down = chain(at, (0, -27, -8, 10), (0, -31, -30, 11), (0, -38, -50, 9), (0, -43, -66, 7))
    peduncles = chain(at, (11, -15, -10, 6), (6, -22, -24, 8))
    to_cerebellum = chain(at, (12, -30, -35, 8), (22, -48, -37, 8))
    return join(join(pons, down, 5), join(peduncles, to_cerebellum, 3), 4)


def callosum(at: np.ndarray) -> np.ndarray:
    """The outside of the corpus callosum, where the fissure between the hemispheres ends: an elliptic cylinder."""
    y, z = at[1] + 5, at[2] - 4
    return (np.sqrt((y / 38) ** 2 + (z / 23) ** 2) - 1) * np.float32(23)


def ventricles(at: np.ndarray, size: float) -> np.ndarray:
    """The four ventricles; ``size`` is 1 in youth."""
    x, y, z = at
    # The horns in front are thin and high, what is behind is round.
    thin = np.stack([1.5 * x, y, 0.8 * z])
    horn = ((17, 30, 1, 2.5), (12, 22, 5, 4.5), (9, 8, 10, 5), (9, 0, 14.5, 5), (13, -14, 17.5, 5), (22, -30, 15, 5))
    front = chain(thin, *horn, size=size) * np.float32(0.75)
    back = chain(at, (15, -30, 18, 4), (24, -41, 11, 5.5), (26, -57, 6, 3), (25, -72, 5, 1), size=size)
    temporal = chain(at, (26, -41, 9, 4), (34, -34, -5, 2.4), (33, -12, -18, 1.8), size=size)
    lateral = np.maximum(np.minimum.reduce([front, back, temporal]), 0.9 - x)  # between them: the septum
    third = ellipsoid(at, (0, -12, -2), (1.7 * size**1.5, 15, 10))
    fourth = ellipsoid(at, (0, -44, -33), (6 * size**0.5, 5 * size**0.5, 9))
    aqueduct = chain(at, (0, -28, -5, 1), (0, -36, -22, 1))
    return np.minimum.reduce([lateral, third, fourth, aqueduct])


def nuclei(at: np.ndarray) -> dict[str, np.ndarray]:
    """The gray matter that is not in the cortex: basal ganglia, thalamus, hippocampus."""
    x, y, z = at
    slanted = np.stack([x + 0.32 * y, y, z])  # they diverge to the back
    caudate = chain(at, (11, 17, 3, 6), (14, 9, 11, 5.5), (16, -6, 20, 3.5), (20, -22, 22, 2))
    return {
        "pallidum": ellipsoid(slanted, (18.5, -4, -1), (4.5, 9, 6)),
        "striatum": np.minimum(ellipsoid(slanted, (27, 2, 1), (5, 17, 10)), caudate),
        "thalamus": ellipsoid(slanted, (6, -18, 7), (9, 15, 9)),
        "hippocampus": chain(at, (22, -4, -19, 6.5), (27, -18, -15, 4.5), (29, -34, -4, 4)),
    }


def sylvian(at: np.ndarray, bend: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The fissure above the temporal lobe, and the sheet over the insula that it leads to.

    For each the distance (0 or more) from its middle and the distance to where it ends.
    """
    x, y, z = at
    height = 1 - 0.42 * y + 0.15 * (x - 50) + 2 * bend
    outwards = np.maximum(40 - x, np.abs(y + 8) - 30)
    insula = 41 - 0.007 * (y - 2) ** 2 + 0.8 * bend
    along = np.maximum(np.abs(y - 1) - 21, np.abs(z - 0.6 * height - 1) - 13)
    return [(np.abs(z - height), outwards), (np.abs(x - insula), along)]


def arbor(at: np.ndarray) -> np.ndarray:
    """The white matter in the middle of the cerebellum."""
    return ellipsoid(at, (17, -54, -36), (15, 11, 8))


def folia(at: np.ndarray, surface: np.ndarray, bend: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance (0 or more) from the middle of the nearest of the cerebellum's sheets, and how thick that sheet is.

    They fan out from the fourth ventricle; ``surface`` is the distance to the cerebellum's.
    """
    x, y, z = at
    behind, above = -46 - y - 0.006 * x**2, z + 31 + 0.2 * x
    thick = 1 / np.sqrt(1 / (0.18**2 * (behind**2 + above**2 + 4)) + 0.1**2)
    turns = np.arctan2(above, behind) / 0.18 + 0.1 * surface + 0.6 * bend
    return np.abs(turns - np.rint(turns)) * thick, thick

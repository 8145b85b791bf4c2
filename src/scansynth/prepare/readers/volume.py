"""Volumes: the orientation of their slices, what their values mean, and which slices are cut.

However its file stores the voxels, a slice is the same picture, as radiologists look at it: axial with anterior at the
top and the patient's left on the right, coronal with superior at the top and left on the right, sagittal with superior
at the top and anterior on the left. An oblique volume is cut along its own axes, each named for the body's nearest one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from scipy.ndimage import affine_transform

from scansynth.prepare.decoded import RejectedError
from scansynth.prepare.normalize import percentiles
from scansynth.sections import Slices

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}  # the axis of a volume that slices are perpendicular to
SAMPLE = 2**20  # voxels that a volume's levels are estimated from, about
NOT_FINITE = 0.05  # share of the voxels
SAME_GRID = 0.1  # of a voxel, that corners may be apart


@dataclass(frozen=True)
class Volume:
    """Voxels of shape (right, anterior, superior), each axis growing towards the side that it is named for."""

    stored: np.ndarray  # as in the file: large volumes are scaled a slice at a time
    affine: np.ndarray  # (4, 4): voxel indices to millimetres
    slope: float = 1.0
    intercept: float = 0.0

    @classmethod
    def of(cls, stored: np.ndarray, affine: np.ndarray, slope: float, intercept: float) -> "Volume":
        """A volume of voxels (i, j, k) that lie as ``affine`` says."""
        orientation = io_orientation(affine)
        turned = affine @ inv_ornt_aff(orientation, stored.shape)
        return cls(apply_orientation(stored, orientation), turned, slope, intercept)

    def scaled(self, stored: np.ndarray) -> np.ndarray:
        """Stored values in the file's unit."""
        return stored * self.slope + self.intercept

    def values(self) -> np.ndarray:
        """The whole volume in the file's unit, float32."""
        return self.scaled(self.stored).astype(np.float32)

    def plane(self, axis: int, index: int) -> np.ndarray:
        """A slice in the file's unit as it is to be shown, (height, width)."""
        return self.scaled(np.moveaxis(self.stored, axis, 0)[index][::-1, ::-1].T)

    def spacing(self, axis: int) -> tuple[float, float]:
        """Millimetres between rows and between columns of a slice."""
        first, second = np.delete(voxel_sizes(self.affine), axis)
        return float(second), float(first)


@dataclass(frozen=True)
class Levels:
    """What the values of a volume mean; the same for all its slices, so that these keep their relative brightness."""

    black: float
    white: float
    air: float  # foreground, which is head or body, has more than this
    outside: float  # the value that a mask (skull-stripping) left, NaN where there was none

    def foreground(self, values: np.ndarray) -> np.ndarray:
        """Where there is head or body."""
        return (values > self.air) & (values != self.outside)

    def unit(self, values: np.ndarray) -> np.ndarray:
        """Values from 0 to 1, float32; what is outside or not finite is black."""
        unit = np.clip((values - self.black) / (self.white - self.black), 0, 1)
        return np.where(np.isfinite(values) & (values != self.outside), unit, 0).astype(np.float32)


def levels(volume: Volume, window: tuple[float, float] | None = None) -> Levels:
    """Levels of a volume, estimated from evenly spaced voxels; black and white from a window (centre, width) if given.

    Foreground is what is more than a tenth of the way from the 2nd to the 98th percentile, as the Brain Extraction Tool
    tells it from air (Smith, Human Brain Mapping 2002). Black is the volume's low percentile, white the foreground's
    high one (``normalize.PERCENTILES``). What a mask left outside the head counts as dark, even if its value lies in
    the middle of the others, as that of z-scores does.

    Raises:
        RejectedError: if the volume is blank, or more than 5% of it is not finite.
    """
    step = max(1, round((volume.stored.size / SAMPLE) ** (1 / 3)))
    sample = volume.scaled(volume.stored[::step, ::step, ::step])
    finite = np.isfinite(sample)
    if finite.mean() < 1 - NOT_FINITE:
        raise RejectedError(f"{1 - finite.mean():.0%} of its voxels are not finite (NaN): set them to the background")
    sample = sample[finite]
    outside = _outside(sample)
    if (masked := sample == outside).any():
        sample[masked] = min(outside, percentiles(sample[~masked])[0])
    low, high = np.percentile(sample, (2, 98))
    air = float(low + 0.1 * (high - low))
    if sample.max() <= air:
        raise RejectedError("blank: (nearly) all voxels have the same value")
    black, white = percentiles(sample)[0], percentiles(sample[sample > air])[1]
    if window:
        black, white = window[0] - window[1] / 2, window[0] + window[1] / 2
    return Levels(black, white, air, outside)


def _outside(sample: np.ndarray) -> float:
    """The value of more than half of the voxels, which is a mask's, NaN if there is none (or nothing brighter)."""
    middle = np.median(sample)
    return float(middle) if middle < sample.max() and np.mean(sample == middle) > 0.5 else np.nan


def choose(volumes: Sequence[Volume], shown: Sequence[Levels], slices: Slices) -> list[int]:
    """Indices of the slices to cut: in the range, as far apart as asked for, with enough foreground in every contrast.

    ``volumes`` are the contrasts on one grid, ``shown`` their levels. Slices without any foreground are never cut.
    """
    axis = AXES[slices.axis]
    count = volumes[0].stored.shape[axis]
    position = (np.arange(count) + 0.5) / count
    inside = np.flatnonzero((position >= slices.range[0]) & (position <= slices.range[1]))
    if not len(inside):
        return []
    step = max(1.0, slices.every_mm / voxel_sizes(volumes[0].affine)[axis]) if slices.every_mm else 1.0
    spread = np.floor(np.arange(inside[0], inside[-1] + 0.5, step) + 0.5).astype(int)
    enough = np.all(
        [_foreground(*pair, axis) >= slices.foreground for pair in zip(volumes, shown, strict=True)], axis=0
    )
    return [int(index) for index in spread if enough[index]]


def _foreground(volume: Volume, shown: Levels, axis: int) -> np.ndarray:
    """How much of each slice is foreground, in units of the fullest one's; -1 where there is none."""
    planes = (volume.plane(axis, index) for index in range(volume.stored.shape[axis]))
    counts = np.array([np.count_nonzero(shown.foreground(plane)) for plane in planes])
    return np.where(counts > 0, counts / max(1, counts.max()), -1)


def same_grid(one: Volume, other: Volume) -> bool:
    """Whether two volumes have the same voxels: as many, their corners at the same places to a tenth of a voxel."""
    if one.stored.shape != other.stored.shape:
        return False
    corners = np.array(list(product(*((0, length - 1) for length in one.stored.shape))))
    apart = np.linalg.norm(apply_affine(one.affine, corners) - apply_affine(other.affine, corners), axis=1)
    return bool(apart.max() <= SAME_GRID * voxel_sizes(one.affine).min())


def nearest(volume: Volume, grid: Volume) -> Volume:
    """The volume on the grid of another one: each voxel that of the nearest place, 0 where there is none."""
    matrix = np.linalg.inv(volume.affine) @ grid.affine
    return Volume(affine_transform(volume.values(), matrix, output_shape=grid.stored.shape, order=0), grid.affine)

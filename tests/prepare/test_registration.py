import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from nibabel.affines import apply_affine
from nibabel.eulerangles import euler2mat

from scansynth.prepare.decoded import RejectedError
from scansynth.prepare.readers.registration import find, rigid, to_itk

FIXED = np.diag([3.0, 3.0, 3.0, 1.0])
FIXED[:3, 3] = -75
MOVING = np.diag([-2.5, 2.5, 4.0, 1.0])  # another grid, orientation and spacing
MOVING[:3, 3] = 70, -80, -72


def tissue(points: np.ndarray) -> np.ndarray:
    """About 0 to 1 at points (..., 3) in mm: a head with a skull and blobs of many sizes in it."""
    x, y, z = np.moveaxis(points, -1, 0)
    radius = np.sqrt((x / 55) ** 2 + (y / 65) ** 2 + (z / 50) ** 2)
    values = 0.4 / (1 + np.exp(20 * (radius - 1))) + 0.3 * np.exp(-(((radius - 0.95) / 0.05) ** 2))
    random = np.random.default_rng(0)
    for centre in random.normal(0, 22, (30, 3)):
        size, height = random.uniform(6, 15), random.normal(0, 0.2)
        values = values + height * np.exp(-(((points - centre) ** 2).sum(-1) / size**2))
    return values


def sample(shape: tuple[int, int, int], affine: np.ndarray, displaced: np.ndarray) -> np.ndarray:
    """The head, displaced by a matrix (4, 4), on a grid."""
    points = apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))
    return tissue(apply_affine(np.linalg.inv(displaced), points)).astype(np.float32)


def displacement(degrees: tuple[float, float, float], shift: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = euler2mat(*np.radians(degrees))
    matrix[:3, 3] = shift
    return matrix


@pytest.mark.parametrize("degrees, shift", [((4, -3, 6), (5, -4, 7)), ((0, 0, 0), (60, 0, -40))])
def test_a_known_displacement_is_found(degrees, shift):
    moved = displacement(degrees, shift)
    fixed = sample((50, 50, 50), FIXED, np.eye(4))
    grid = MOVING.copy()
    grid[:3, 3] += np.round(shift)  # the scanner looks where the head is
    contrast = 1 - sample((56, 64, 36), grid, moved) ** 2  # another contrast: dark is bright
    found = find(to_itk(fixed, FIXED), to_itk(contrast.astype(np.float32), grid))
    flip = np.array([-1, -1, 1])
    for point in ((0, 0, 0), (50, 0, 0), (0, 60, 0), (0, 0, 45)):
        placed = np.array(found.TransformPoint((flip * point).astype(float).tolist())) * flip
        assert np.linalg.norm(placed - apply_affine(moved, point)) < 0.5


def test_the_result_lies_on_the_fixed_grid_and_is_the_same_each_time():
    fixed = sample((50, 50, 50), FIXED, np.eye(4))
    moving = sample((56, 64, 36), MOVING, displacement((3, 2, -4), (2, 3, -2)))
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(4)
    placed = rigid(fixed, FIXED, moving, MOVING)
    assert placed.dtype == np.float32
    head = fixed > 0.2
    assert np.abs(placed - fixed)[head].mean() < 0.02
    np.testing.assert_array_equal(rigid(fixed, FIXED, moving, MOVING), placed)


def test_images_of_itk_lie_where_the_affine_says():
    affine = MOVING.copy()
    affine[:3, :3] = euler2mat(0.1, 0.2, 0.3) @ MOVING[:3, :3]
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    image = to_itk(values, affine)
    for index in ((0, 0, 0), (1, 2, 3)):
        assert image.GetPixel(index) == values[index]
        np.testing.assert_allclose(
            image.TransformIndexToPhysicalPoint(index), apply_affine(affine, index) * [-1, -1, 1]
        )


def test_volumes_that_cannot_be_registered():
    blank = np.zeros((50, 50, 50), np.float32)
    with pytest.raises(RejectedError, match="could not be registered"):
        rigid(sample((50, 50, 50), FIXED, np.eye(4)), FIXED, blank, FIXED)

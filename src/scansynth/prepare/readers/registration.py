"""Rigid registration of one volume to another of the same person."""

import numpy as np
import SimpleITK as sitk  # noqa: N813 (as its own documents call it)
from nibabel.affines import voxel_sizes

from scansynth.prepare.decoded import RejectedError

BINS = 32
COARSE = 2.0  # mm: finer voxels are averaged up to it, as they cost time and place a head no better
SAMPLES = 20_000  # voxels that the metric looks at
SEED = 1  # of their choice; 0 would be the clock
SHRINK, SMOOTH = (4, 2, 1), (4.0, 2.0, 0.0)  # from there, coarse to fine: factors, millimetres
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])  # from nibabel's axes to ITK's


def rigid(fixed: np.ndarray, fixed_affine: np.ndarray, moving: np.ndarray, moving_affine: np.ndarray) -> np.ndarray:
    """``moving`` rotated and shifted onto ``fixed``, float32 of its shape, linearly interpolated.

    Both are float32 of shape (right, anterior, superior); the affines (4, 4) take their indices to millimetres. What
    ``moving`` does not cover has its least value. The result is the same at every run.

    Raises:
        RejectedError: if they do not overlap, or if no rotation and shift makes them more alike.
    """
    target, source = to_itk(fixed, fixed_affine), to_itk(moving, moving_affine)
    try:
        transform = find(_coarse(target), _coarse(source))
    except RuntimeError as error:  # ITK's only one
        raise RejectedError("it could not be registered: the volumes do not overlap") from error
    placed = sitk.Resample(source, target, transform, sitk.sitkLinear, float(moving.min()), sitk.sitkFloat32)
    return sitk.GetArrayFromImage(placed).T


def find(fixed: sitk.Image, moving: sitk.Image) -> sitk.Euler3DTransform:
    """The transform from points of ``fixed`` to those of ``moving`` (mm, LPS) with the most mutual information.

    Mattes et al., IEEE TMI 2003, by gradient descent from coarse to fine. The start is where the scanner says that both
    lie, or both centres of mass laid upon each other, whichever is better.

    Raises:
        RejectedError: if that is no better than the start.
        RuntimeError: if they do not overlap.
    """
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)  # sums of several threads differ in their last bits
    moments = sitk.CenteredTransformInitializerFilter.MOMENTS
    centred = sitk.Euler3DTransform(sitk.CenteredTransformInitializer(fixed, moving, sitk.Euler3DTransform(), moments))
    still = sitk.Euler3DTransform(centred)
    still.SetTranslation((0.0, 0.0, 0.0))
    start = min((still, centred), key=lambda transform: _cost(transform, fixed, moving))
    found = sitk.Euler3DTransform(start)
    _method(found, fixed).Execute(fixed, moving)
    if _cost(found, fixed, moving) > _cost(start, fixed, moving):
        raise RejectedError("it could not be registered: no rotation and shift makes the volumes more alike")
    return found


def to_itk(values: np.ndarray, affine: np.ndarray) -> sitk.Image:
    """SimpleITK's image of a volume."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.T))
    spacing = voxel_sizes(affine)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin((RAS_TO_LPS @ affine[:3, 3]).tolist())
    image.SetDirection((RAS_TO_LPS @ affine[:3, :3] / spacing).ravel().tolist())
    return image


def _coarse(image: sitk.Image) -> sitk.Image:
    return sitk.BinShrink(image, [max(1, int(COARSE // spacing)) for spacing in image.GetSpacing()])


def _cost(transform: sitk.Euler3DTransform, fixed: sitk.Image, moving: sitk.Image) -> float:
    """The mutual information, negative."""
    return _method(transform, fixed).MetricEvaluate(fixed, moving)


def _method(transform: sitk.Euler3DTransform, fixed: sitk.Image) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    counts = [max(1, fixed.GetNumberOfPixels() // factor**3) for factor in SHRINK]
    method.SetMetricSamplingPercentagePerLevel([min(1.0, SAMPLES / count) for count in counts], SEED)
    method.SetShrinkFactorsPerLevel(SHRINK)
    method.SetSmoothingSigmasPerLevel(SMOOTH)
    method.SetInterpolator(sitk.sitkLinear)
    # Steps in millimetres that shrink slowly: they follow rotations, which change little, to their end too.
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0, minStep=1e-3, numberOfIterations=300, relaxationFactor=0.7, gradientMagnitudeTolerance=1e-6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)  # it becomes the one found
    return method

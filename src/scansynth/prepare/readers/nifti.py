"""Volumes in NIfTI (.nii, .nii.gz; NIfTI-1 and -2) and MGH (.mgh, .mgz) files, cut into slices."""

import gzip
import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.arrayproxy import ArrayProxy
from nibabel.imageglobals import LoggingOutputSuppressor
from nibabel.spatialimages import SpatialImage

from scansynth.config import Settings
from scansynth.dataset import Dataset
from scansynth.prepare.decoded import Decoded, Image, RejectedError, Rejection
from scansynth.prepare.items import File, Item, by_role
from scansynth.prepare.normalize import normalize
from scansynth.prepare.readers.file import read_file
from scansynth.prepare.readers.volume import AXES, Volume, choose, levels, nearest, same_grid
from scansynth.sections import Slices

LEAST_MM2 = 20.0  # of a slice that shows a finding: less of it cannot be seen, or is a slip of the mask
VOXEL, UNEVEN = (0.01, 100.0), 100.0  # mm; the longest side in units of the shortest
MILLIMETRES = {"meter": 1000.0, "micron": 0.001}  # NIfTI's other units


@dataclass(frozen=True)
class Scan:
    """An open file: a volume, or several in time."""

    stream: io.BufferedIOBase
    voxels: ArrayProxy  # (i, j, k, time), as stored
    affine: np.ndarray
    slope: float
    intercept: float

    @property
    def times(self) -> int:
        """How many volumes it has."""
        return self.voxels.shape[3]

    def volume(self, time: int = 0) -> Volume:
        """One of its volumes. Nothing else of the file is kept in memory, so go forwards: to go back is slow.

        Raises:
            RejectedError: if the file is cut short or damaged.
        """
        try:
            stored = self.voxels[..., time]
            if time == self.times - 1:
                self.stream.read(1)  # at its end gzip checks all that was read
        except Exception as error:  # zlib, gzip and NumPy fail each in their own way
            raise RejectedError("damaged: its voxels are cut short or cannot be decoded") from error
        return Volume.of(stored, self.affine, self.slope, self.intercept)


def read(root: Path, item: Item, settings: Settings) -> Iterator[Image | Rejection]:
    """Slices of a subject, whose files' roles are contrasts; ``volume`` says how they are oriented, scaled and chosen.

    Their ids end in the slice's index from the left, posterior or inferior end, as ``_x071``, ``_y071`` or ``_z071``,
    after that of the volume where there are several in time, as ``_t002_z071``. A file with the role ``mask`` gives
    masks, and findings too where the data set declares just one finding and its absence: it is there where the mask
    covers 20 mm2 of the slice or more, and absent where it covers none; slices in between are left out.

    The view is the plane of the slices. Where channels are gray, a store's volumes may differ in contrast: then it is
    the contrast that the labels or else the file's name say, unless the data set declares other views.

    Raises:
        RejectedError: if a contrast is missing, damaged, without orientation or on another grid than the first.
    """
    files = by_role(item)
    labels = files.pop("mask", None)
    scans = {name: _open(root, files[name]) for name in _wanted(files, settings.images.channels)}
    mask = None if labels is None else _single("mask", _open(root, labels))
    if len(scans) > 1:
        volumes = _aligned({name: _single(name, scan) for name, scan in scans.items()}, settings.slices)
        yield from _cut(volumes, mask, settings, settings.slices.axis)
        return
    ((name, scan),) = scans.items()
    view = _view(item.label.view or name, settings)
    for time in range(scan.times):
        suffix = f"_t{time:03d}" if scan.times > 1 else ""
        try:
            with _about(name):
                volume = scan.volume(time)
            yield from _cut({name: volume}, mask, settings, view, suffix)
        except RejectedError as rejected:
            if not suffix:
                raise
            yield Rejection(suffix, str(rejected))


def decode(content: bytes) -> Scan:
    """Open a file.

    Raises:
        RejectedError: if it is of no format that is read, not a volume of plain numbers, or does not say how it lies.
    """
    zipped = content.startswith(b"\x1f\x8b")
    stream = gzip.GzipFile(fileobj=io.BytesIO(content)) if zipped else io.BytesIO(content)
    try:
        with warnings.catch_warnings(), LoggingOutputSuppressor():
            warnings.simplefilter("ignore")
            image = _image(stream)
            # A proxy of the same without its scale, which would make the whole volume eight bytes a voxel.
            data = image.dataobj
            voxels = ArrayProxy(stream, (_shape(image), data.dtype, data.offset))
            return Scan(stream, voxels, _affine(image), float(data.slope), float(data.inter))
    except RejectedError:
        raise
    except Exception as error:  # any header may lie
        raise RejectedError("damaged: cut short, or its header cannot be decoded") from error


def _image(stream: io.BufferedIOBase) -> SpatialImage:
    head = stream.read(nib.Nifti2Header.sizeof_hdr)
    stream.seek(0)
    for kind in (nib.Nifti1Image, nib.Nifti2Image):
        if kind.header_class.may_contain_header(head):
            return kind.from_stream(stream)
    if head.startswith(b"\0\0\0\1"):  # MGH's version, big-endian
        return nib.MGHImage.from_stream(stream)
    raise RejectedError("not a NIfTI or MGH file")


def _shape(image: SpatialImage) -> tuple[int, int, int, int]:
    """Its shape with time last."""
    i, j, k, time, *others = (*map(int, image.shape), *(1,) * max(0, 4 - image.ndim))
    if image.ndim < 3 or prod(others) > 1:
        raise RejectedError(f"of {image.ndim} dimensions: only volumes, and several of them in time, are read")
    if i * j * k * time < 1:
        raise RejectedError("damaged: it has no voxels")
    if image.get_data_dtype().kind not in "iuf":
        raise RejectedError("its voxels are no plain numbers: they are in colour or complex")
    return i, j, k, time


def _affine(image: SpatialImage) -> np.ndarray:
    affine, header = np.array(image.affine, dtype=np.float64), image.header
    if isinstance(header, nib.Nifti1Header):  # or NIfTI-2's, which is one too
        if header["qform_code"] == 0 and header["sform_code"] == 0:
            raise RejectedError("it does not say which way it lies: neither its qform nor its sform is set")
        affine[:3] *= MILLIMETRES.get(header.get_xyzt_units()[0], 1.0)
    sizes = voxel_sizes(affine)
    plausible = VOXEL[0] <= sizes.min() and sizes.max() <= min(VOXEL[1], UNEVEN * sizes.min())  # not where one is NaN
    if not plausible or np.linalg.matrix_rank(affine[:3, :3] / sizes) < 3:
        raise RejectedError("damaged: by its affine the voxels cannot be those of a scan")
    return affine


def _open(root: Path, file: File) -> Scan:
    with _about(file.role):
        return decode(read_file(root, file))


@contextmanager
def _about(contrast: str) -> Iterator[None]:
    """Reasons for a rejection say which of an item's files they are about."""
    try:
        yield
    except RejectedError as rejected:
        raise RejectedError(f"{contrast}: {rejected}" if contrast else str(rejected)) from rejected


def _wanted(files: Mapping[str, File], channels: str | tuple[str, ...]) -> list[str]:
    """The contrasts that become channels."""
    have = ", ".join(sorted(files)) or "none"
    if channels == "rgb":
        raise RejectedError("a volume has no colours, and images.channels is rgb: set it to gray, or to contrasts")
    if channels == "gray":
        if len(files) != 1:
            raise RejectedError(f"its contrasts are {have}, and images.channels is gray: set it to some, as [t1, t2]")
        return list(files)
    missing = ", ".join(name for name in channels if name not in files)
    if missing:
        raise RejectedError(f"it lacks {missing}, which images.channels asks for; its contrasts are {have}")
    return list(channels)


def _view(contrast: str, settings: Settings) -> str:
    declared = settings.dataset.views
    told = contrast and settings.images.channels == "gray" and (not declared or contrast in declared)
    return contrast if told else settings.slices.axis


def _single(name: str, scan: Scan) -> Volume:
    with _about(name):
        if scan.times > 1:
            raise RejectedError(f"{scan.times} volumes in time, and which of them goes with the others is not known")
        return scan.volume()


def _aligned(volumes: Mapping[str, Volume], slices: Slices) -> dict[str, Volume]:
    """The volumes on the grid of the first."""
    (first, fixed), *others = volumes.items()
    aligned = {first: fixed}
    for name, volume in others:
        if same_grid(fixed, volume):
            aligned[name] = volume
        elif slices.registration == "rigid":
            aligned[name] = _registered(fixed, volume, name)
        else:
            raise RejectedError(
                f"{first} and {name} are on different grids, and were not registered to each other: set "
                "slices.registration to rigid to have that done, or images.channels to one contrast"
            )
    return aligned


def _registered(fixed: Volume, moving: Volume, name: str) -> Volume:
    from scansynth.prepare.readers.registration import rigid  # SimpleITK takes a second to load, and few need it

    with _about(name):
        return Volume(rigid(fixed.values(), fixed.affine, moving.values(), moving.affine), fixed.affine)


def _cut(
    contrasts: Mapping[str, Volume], mask: Volume | None, settings: Settings, view: str, suffix: str = ""
) -> Iterator[Image | Rejection]:
    """Slices of contrasts on one grid, which become their channels."""
    axis, volumes, shown = AXES[settings.slices.axis], list(contrasts.values()), []
    for name, volume in contrasts.items():
        with _about(name):
            shown.append(levels(volume, settings.images.window))
    first = volumes[0]
    chosen = choose(volumes, shown, settings.slices)
    if not chosen:
        raise RejectedError("no slice of it is in slices.range and shows enough of head or body (slices.foreground)")
    if mask and not same_grid(first, mask):
        mask = nearest(mask, first)
    for index in chosen:
        name = f"{suffix}_{'xyz'[axis]}{index:03d}"
        values = np.stack([level.unit(each.plane(axis, index)) for each, level in zip(volumes, shown, strict=True)])
        labels = _labels(mask.plane(axis, index)) if mask else None
        decoded = Decoded(values, (0.0, 1.0), first.spacing(axis), labels)
        findings = _findings(decoded, settings.dataset)
        if findings == ():
            continue
        try:
            yield replace(normalize(decoded, settings.images, name), findings=findings, view=view)
        except RejectedError as rejected:
            yield Rejection(name, str(rejected))


def _labels(values: np.ndarray) -> np.ndarray:
    if not np.array_equal(values, np.clip(np.rint(values), 0, 255)):
        raise RejectedError("mask: it holds other values than the whole numbers from 0 to 255")
    return values.astype(np.uint8)


def _findings(decoded: Decoded, dataset: Dataset) -> tuple[str, ...] | None:
    """What the mask of a slice says: a finding or its absence, empty where it is unsure, None where it says nothing."""
    present = [finding for finding in dataset.findings if finding != dataset.no_finding]
    if decoded.mask is None or len(dataset.findings) != 2 or len(present) != 1:
        return None
    area = np.count_nonzero(decoded.mask) * prod(decoded.spacing)
    if 0 < area < LEAST_MM2:
        return ()
    return (present[0] if area else dataset.no_finding,)

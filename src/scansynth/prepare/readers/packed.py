"""What readers of files that hold many images have in common."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError
from scansynth.prepare.decoded import Decoded, Image, RejectedError, Rejection
from scansynth.prepare.items import File
from scansynth.prepare.normalize import normalize
from scansynth.sections import Images

RUN = 256  # images an item


def check(root: Path, file: File) -> None:
    """Check a file that is too large to be hashed for each of its parts.

    Raises:
        RejectedError: if it is not there, or of another size than when it was acquired.
    """
    try:
        size = (root / file.path).stat().st_size
    except OSError:
        raise RejectedError("gone since it was acquired, or not readable") from None
    if size != file.bytes:
        raise RejectedError("changed since it was acquired: its size is another")


def image(
    pixels: np.ndarray, suffix: str, images: Images, patient: str, findings: tuple[str, ...]
) -> Image | Rejection:
    """One of the images: ``pixels`` is uint8 of shape (height, width) or (height, width, 3)."""
    values = np.moveaxis(np.atleast_3d(pixels), -1, 0).astype(np.float32)
    try:
        made = normalize(Decoded(values, (0.0, 255.0)), images, suffix)
    except RejectedError as rejected:
        return Rejection(suffix, str(rejected))
    return replace(made, patient=patient, findings=findings)


def absent_and_present(dataset: Dataset) -> tuple[str, str]:
    """The data set's two findings, such as Normal and Tumour: first the one that says that there is no other.

    Raises:
        ScansynthError: if it declares others.
    """
    others = [name for name in dataset.findings if name != dataset.no_finding]
    if len(others) != 1 or len(dataset.findings) != 2:
        raise ScansynthError(
            f"{dataset.title}: its labels say whether there is one finding, and its file in config/datasets declares "
            f"findings: {', '.join(dataset.findings) or 'none'}; no_finding: {dataset.no_finding or 'none'}. "
            "Declare two findings there, and as no_finding the one for its absence"
        )
    return dataset.no_finding, others[0]

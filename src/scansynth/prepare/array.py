"""An array file that grows image by image, its length not known before."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from scansynth.files import atomic


class Writer:
    """Appends images of one shape to an .npy file."""

    def __init__(self, file: BinaryIO, shape: tuple[int, ...]) -> None:
        self.file, self.shape, self.count = file, shape, 0
        self._header()

    def append(self, images: np.ndarray) -> None:
        """Append uint8 images (n, *shape)."""
        self.file.write(np.ascontiguousarray(images).data)
        self.count += len(images)

    def close(self) -> None:
        """Write the header with the number of images."""
        self.file.seek(0)
        self._header()

    def _header(self) -> None:
        # NumPy leaves room for the first axis to grow, so that the final header fits over the first.
        fields = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False}
        np.lib.format.write_array_header_1_0(self.file, fields | {"shape": (self.count, *self.shape)})


@contextmanager
def growing(path: Path, shape: tuple[int, ...]) -> Iterator[Writer]:
    """Write an array of uint8 images of ``shape`` to ``path``, which is there once the block ends well.

    As a file, not as a memory map: there, a full disk would kill the process without an error.
    """
    with atomic(path) as partial, partial.open("wb") as file:
        writer = Writer(file, shape)
        yield writer
        writer.close()

"""One file to one image of the store, in a worker process."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from scansynth import workers as processes
from scansynth.prepare import dicom, raster
from scansynth.prepare.gray import RejectedError
from scansynth.prepare.layout import Item
from scansynth.prepare.normalize import normalize

CHUNK = 16  # files a task: decoding them takes far longer than handing them over


@dataclass(frozen=True)
class Result:
    """What became of a file: pixels (uint8, shape (size, size)), or a reason why there are none."""

    item: Item
    pixels: np.ndarray | None = None
    upscaled: bool = False  # the file has fewer pixels than the store's image
    reason: str | None = None


def read_images(
    root: Path, items: Sequence[Item], size: int, fit: Literal["pad", "crop"], workers: int
) -> Iterator[Result]:
    """Results in the order of ``items``, the same for any number of worker processes.

    Raises:
        BrokenProcessPool: if a worker died.
    """
    chunks = (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))
    read = partial(_read_chunk, root, size=size, fit=fit)
    workers = min(workers, -(-len(items) // CHUNK))
    results = map(read, chunks) if workers < 2 else _in_order(read, chunks, workers)
    for chunk in results:
        yield from chunk


def read_image(root: Path, item: Item, size: int, fit: Literal["pad", "crop"]) -> Result:
    """Read, check and normalise one file; what is wrong with it is a result, not an error."""
    try:
        content = _read(root / item.source, item.sha256)
        decode = dicom.decode if item.source.lower().endswith(".dcm") else raster.decode
        gray = decode(content)
        side = (max if fit == "pad" else min)(gray.values.shape)
        return Result(item, normalize(gray, size, fit), upscaled=side < size)
    except RejectedError as rejected:
        return Result(item, reason=str(rejected))


def _read_chunk(root: Path, items: Sequence[Item], size: int, fit: Literal["pad", "crop"]) -> list[Result]:
    return [read_image(root, item, size, fit) for item in items]


def _in_order(
    read: Callable[[Sequence[Item]], list[Result]], chunks: Iterator[Sequence[Item]], workers: int
) -> Iterator[list[Result]]:
    """Results of tasks in worker processes; a few tasks ahead of the reader and no more, so that memory stays flat."""
    with processes.pool(workers) as pool:
        waiting = [pool.submit(read, chunk) for chunk in islice(chunks, 4 * workers)]
        try:
            while waiting:
                yield waiting.pop(0).result()
                waiting += [pool.submit(read, chunk) for chunk in islice(chunks, 1)]
        finally:
            pool.shutdown(cancel_futures=True)


def _read(path: Path, sha256: str) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise RejectedError("gone since it was acquired") from None
    except OSError as error:
        raise RejectedError("not readable: no permission, or the disk failed") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise RejectedError("changed since it was acquired: its SHA-256 is another")
    return content

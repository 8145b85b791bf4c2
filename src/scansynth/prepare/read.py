"""Items to images of the store, in worker processes.

The readers are the modules of ``scansynth.prepare.readers``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from scansynth import workers as processes
from scansynth.config import Settings
from scansynth.prepare.decoded import Image, RejectedError, Rejection
from scansynth.prepare.items import Item
from scansynth.prepare.readers.stain import normalized

SMALL = ("raster", "dicom")  # readers whose files mostly give one image
CHUNK = 16  # files a task: decoding them takes far longer than handing them over

Read = Callable[[Path, Item, Settings], Iterator[Image | Rejection]]


@dataclass(frozen=True)
class Result:
    """What became of an item."""

    item: Item
    images: tuple[Image | Rejection, ...] = ()
    reason: str | None = None  # why it gives none at all


def reader(name: str) -> Read:
    """The ``read`` of a reader, which is loaded only now: a job needs one of them, and some load large libraries."""
    match name:
        case "raster":
            from scansynth.prepare.readers.raster import read
        case "dicom":
            from scansynth.prepare.readers.dicom import read
        case "nifti":
            from scansynth.prepare.readers.nifti import read
        case "hdf5":
            from scansynth.prepare.readers.hdf5 import read
        case "npz":
            from scansynth.prepare.readers.npz import read
        case "slide":
            from scansynth.prepare.readers.slide import read
        case _:
            raise ValueError(f"there is no reader {name!r}")
    return read


def read_items(root: Path, items: Sequence[Item], settings: Settings, workers: int) -> Iterator[Result]:
    """Results in the order of ``items``, the same for any number of worker processes.

    Raises:
        BrokenProcessPool: if a worker died.
    """
    chunks = _chunks(items)
    read = partial(_read_chunk, root, settings=settings)
    workers = min(workers, len(chunks))
    results = map(read, chunks) if workers < 2 else _in_order(read, iter(chunks), workers)
    for chunk in results:
        yield from chunk


def read_item(root: Path, item: Item, settings: Settings) -> Result:
    """Read, check and normalise one item; what is wrong with it is a result, not an error."""
    try:
        found = reader(item.reader)(root, item, settings)
        return Result(
            item, tuple(normalized(one, settings.patches) if isinstance(one, Image) else one for one in found)
        )
    except RejectedError as rejected:
        return Result(item, reason=str(rejected))


def _chunks(items: Sequence[Item]) -> list[Sequence[Item]]:
    """Runs of single files; items that give many images (volumes, series, parts of large files) by themselves."""
    small = all(len(item.files) == 1 and item.reader in SMALL for item in items)
    size = CHUNK if small else 1
    return [items[start : start + size] for start in range(0, len(items), size)]


def _read_chunk(root: Path, items: Sequence[Item], settings: Settings) -> list[Result]:
    return [read_item(root, item, settings) for item in items]


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

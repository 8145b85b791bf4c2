"""Prepare a shard: a run of a data set's items, decoded, normalised, and each with its row of the table.

Any number of shards, on as many machines, give together what one gives.

``<shard>.npy``        uint8, shape (images, channels, size, size)
``<shard>.masks.npy``  uint8, shape (masks, size, size), of the images that have one
``<shard>.json``       a row and a hash an image, the items that gave none and why
"""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from scansynth import cores, stage
from scansynth.config import Settings
from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError
from scansynth.files import read_json, write_json
from scansynth.prepare.array import growing
from scansynth.prepare.decoded import Image, Rejection
from scansynth.prepare.items import Item, read_listing, shard, source_name
from scansynth.prepare.read import Result, read_items

Row = dict[str, str]


@dataclass
class Shard:
    """What a shard's table holds."""

    rows: list[Row] = field(default_factory=list)  # the store's; the split is upstream's, or empty
    hashes: list[str] = field(default_factory=list)  # SHA-256 of each image's pixels
    quarantined: list[dict[str, str]] = field(default_factory=list)  # source and reason
    upscaled: int = 0
    masks: int = 0
    items: int = 0
    lost: int = 0  # items that gave no image, and not because there is nothing on them

    def add(self, result: Result, dataset: Dataset) -> None:
        """Add what became of an item."""
        kept = 0
        for part in result.images:
            name = _source(result.item, part.file, dataset)
            if isinstance(part, Rejection):
                self.quarantined.append({"source": name, "reason": f"{part.suffix.lstrip('_')}: {part.reason}"})
                continue
            mask = "" if part.mask is None else str(self.masks)
            self.rows.append(_row(result.item, part, name) | {"mask": mask})
            self.hashes.append(hashlib.sha256(part.pixels.tobytes()).hexdigest())
            self.upscaled += part.upscaled
            self.masks += part.mask is not None
            kept += 1
        if result.reason:
            self.quarantined.append({"source": _source(result.item, 0, dataset), "reason": result.reason})
        self.items += 1
        self.lost += not kept and bool(result.images or result.reason)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage from the command line."""
    outputs = ("pixels", "masks", "table")
    stage.run("prepare.shard", work, inputs=("source", "listing"), outputs=outputs, texts=("shard",), argv=argv)


def work(job: stage.Job) -> None:
    """The stage; ``--shard 2-of-8`` says which.

    Raises:
        ScansynthError: if a worker process died.
    """
    settings = job.settings
    root = job.inputs["source"].parent / "files"
    items = shard(read_listing(job.inputs["listing"]).items, *_number(job.texts["shard"]))
    size = settings.images.size
    made = Shard()
    with (
        growing(job.outputs["pixels"], (channels(settings), size, size)) as pixels,
        growing(job.outputs["masks"], (size, size)) as masks,
    ):
        for result in _results(root, items, settings):
            made.add(result, settings.dataset)
            for image in result.images:
                if isinstance(image, Image):
                    pixels.append(image.pixels[None])
                    if image.mask is not None:
                        masks.append(image.mask[None])
    write_json(job.outputs["table"], vars(made))
    job.facts |= {"items": len(items), "images": len(made.rows), "quarantined": len(made.quarantined)}


def read_shard(path: Path) -> Shard:
    """Read a shard's table."""
    return Shard(**read_json(path))


def channels(settings: Settings) -> int:
    """Channels of the store's images."""
    wanted = settings.images.channels
    return {"gray": 1, "rgb": 3}[wanted] if isinstance(wanted, str) else len(wanted)


def _number(text: str) -> tuple[int, int]:
    number, _, count = text.partition("-of-")
    return int(number), int(count)


def _source(item: Item, number: int, dataset: Dataset) -> str:
    file = item.files[number]
    return source_name(file.path, file.sha256, dataset)


def _row(item: Item, image: Image, name: str) -> Row:
    label = item.label
    return {
        "id": item.name + image.suffix,
        "patient": image.patient or label.patient,
        "split": label.split,
        "findings": "|".join(label.findings if image.findings is None else image.findings),
        "view": label.view if image.view is None else image.view,
        "sex": label.sex,
        "age": label.age,
        "spacing": "" if image.spacing is None else f"{image.spacing:.4g}",
        "source": name,
        "sha256": item.files[image.file].sha256,
    }


def _results(root: Path, items: Sequence[Item], settings: Settings) -> Iterator[Result]:
    done = 0
    with tqdm(total=len(items), desc="prepare", unit="item") as bar:
        try:
            for result in read_items(root, items, settings, cores.granted()):
                yield result
                done += 1
                bar.update()
        except BrokenProcessPool:
            near = _source(items[done], 0, settings.dataset)
            raise ScansynthError(
                f"a worker process died at {near} or soon after: memory ran out, or a decoder crashed. "
                "Free memory, or move that file away and acquire the data set again"
            ) from None


if __name__ == "__main__":
    main()

"""Make an image store of a data set's shards: one array, one table, split by patient, and what was left out."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from scansynth import stage
from scansynth.acquire import inventory
from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError
from scansynth.files import read_json, write_json, write_text
from scansynth.prepare import manifest, privacy
from scansynth.prepare.array import growing
from scansynth.prepare.items import read_listing, source_name
from scansynth.prepare.shard import Shard, channels, read_shard
from scansynth.prepare.split import assign, check_leaks
from scansynth.sections import Images
from scansynth.store import COLUMNS, table_text

NAMED = 5  # quarantined files that an error names
COPIED = 1024  # images at once


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage from the command line."""
    outputs = ("pixels", "masks", "table", "manifest")
    stage.run(
        "prepare", prepare, inputs=("source", "inventory", "listing"), lists=("shards",), outputs=outputs, argv=argv
    )


def prepare(job: stage.Job) -> None:
    """Make the store (``scansynth.store``) of the shards (``--shards`` names their tables, in order).

    Raises:
        ScansynthError: if too many files are unreadable, if a patient is in two splits, if a label is unknown, or if an
            identifier of a patient would be written.
    """
    settings = job.settings
    dataset, images = settings.dataset, settings.images
    listing = read_listing(job.inputs["listing"])
    whole = _joined(map(read_shard, job.lists["shards"]))
    hashes = {entry.path: entry.sha256 for entry in inventory.read(job.inputs["inventory"])}
    rejected = [
        {"source": source_name(path, hashes[path], dataset), "reason": reason}
        for path, reason in listing.rejected.items()
    ]
    quarantined = sorted(whole.quarantined + rejected, key=lambda entry: entry["source"])
    lost = (whole.lost + len(rejected)) / max(whole.items + len(rejected), 1)
    _check_quarantine(job.inputs["source"].parent, dataset, quarantined, len(whole.rows), lost, images.max_quarantined)
    _split(whole, images)
    check_leaks(whole.rows, dataset.split_by)

    made = manifest.build(settings, read_json(job.inputs["source"]), listing, whole, quarantined)
    table = table_text(COLUMNS, whole.rows)
    privacy.check(listing.identifiers, dataset, table, made)

    shape = (images.size, images.size)
    _join_arrays(job.lists["shards"], ".npy", job.outputs["pixels"], (channels(settings), *shape))
    _join_arrays(job.lists["shards"], ".masks.npy", job.outputs["masks"], shape)
    write_text(job.outputs["table"], table)
    write_json(job.outputs["manifest"], made)
    job.facts |= {key: made[key] for key in ("images", "patients", "quarantined_count", "rows_without_file")}


def _joined(shards: Iterable[Shard]) -> Shard:
    whole = Shard()
    for shard in shards:
        for row in shard.rows:
            if row["mask"]:
                row["mask"] = str(int(row["mask"]) + whole.masks)
        whole.rows += shard.rows
        whole.hashes += shard.hashes
        whole.quarantined += shard.quarantined
        whole.upscaled += shard.upscaled
        whole.masks += shard.masks
        whole.items += shard.items
        whole.lost += shard.lost
    return whole


def _split(whole: Shard, images: Images) -> None:
    # Upstream may leave the validation set to its users: it is taken from the training patients then.
    training = "train" if any(row["split"] == "val" for row in whole.rows) else "train-val"
    for row in whole.rows:
        row["split"] = assign(row["patient"], images, training if row["split"] == "train" else row["split"])


def _join_arrays(shards: Sequence[Path], suffix: str, path: Path, shape: tuple[int, ...]) -> None:
    with growing(path, shape) as array:
        for shard in shards:
            images = np.load(shard.with_suffix(suffix), mmap_mode="r", allow_pickle=False)
            for start in range(0, len(images), COPIED):
                array.append(images[start : start + COPIED])


def _check_quarantine(
    folder: Path, dataset: Dataset, quarantined: Sequence[dict[str, str]], good: int, lost: float, most: float
) -> None:
    """Stop if too many are lost: images (of what gave one or should have), or whole sources, which may hold many."""
    total = good + len(quarantined)
    if good and max(lost, len(quarantined) / total) <= most:
        return
    counts = Counter(entry["reason"] for entry in quarantined)
    lines = [
        f"{folder / 'files'}: {len(quarantined)} of {total} images are lost, and {lost:.2g} of the sources; "
        f"images.max_quarantined allows a share of {most:g} of either",
        *(f"  {count} x {reason}" for reason, count in counts.most_common(2 * NAMED)),
        "The first are:",
        *(f"  {entry['source']}: {entry['reason']}" for entry in quarantined[:NAMED]),
        *([f"{folder / 'inventory.csv'} says which file has which SHA-256."] if dataset.private else []),
        "Mend or remove them and acquire the data set again"
        + (", or raise images.max_quarantined in the experiment" if good else ""),
    ]
    raise ScansynthError("\n".join(lines))


if __name__ == "__main__":
    main()

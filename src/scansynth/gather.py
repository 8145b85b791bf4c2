"""Gather the shards of an experiment's samples: one array of images, and what each was asked to show."""

import numpy as np

from scansynth import shards
from scansynth.conditions import COLUMNS
from scansynth.errors import ScansynthError
from scansynth.prepare.array import growing
from scansynth.stage import Job, run
from scansynth.store import read_table, write_table
from scansynth.synthesise import draw_conditions


def work(job: Job) -> None:
    """The stage; ``--shards`` names the shards in order.

    Raises:
        ScansynthError: if they have not as many images as were asked for.
    """
    options, paths = job.settings.sample, job.lists["shards"]
    parts = [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths]
    if (found := sum(map(len, parts))) != options.count:
        raise ScansynthError(
            f"--shards have {found} images, but sample.count is {options.count}: name all shards that "
            "scansynth.synthesise made with these settings, in order"
        )
    with growing(job.outputs["samples"], parts[0].shape[1:]) as array:
        for part in parts:
            array.append(part)
    conditions = draw_conditions(read_table(job.inputs["table"]), options.count, options.seed)
    write_table(job.outputs["conditions"], COLUMNS, conditions)
    job.facts |= shards.facts(paths) | {"seed": options.seed, "images": options.count}


def main(argv: list[str] | None = None) -> None:
    """Run the stage from the command line."""
    # The model is read by the shards alone; named here, so that the record that stays says what the images are of.
    run("gather", work, inputs=("model", "table"), lists=("shards",), outputs=("samples", "conditions"), argv=argv)


if __name__ == "__main__":
    main()

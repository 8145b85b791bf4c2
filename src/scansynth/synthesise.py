"""Synthesise a shard: a run of the batches of an experiment's samples. Any number of shards gives the same images."""

import numpy as np

from scansynth import model
from scansynth.files import atomic
from scansynth.sample import draw_conditions, on_best_device, synthesise
from scansynth.shards import share
from scansynth.stage import Job, run
from scansynth.store import read_table


def work(job: Job) -> None:
    """The stage; ``--shard 2-of-8`` says which."""
    options = job.settings.sample
    denoiser, description = model.load(job.inputs["model"])
    known = model.vocabulary(description)
    # Whole batches, the last one's end apart: an image is in the same batch in any number of shards.
    batches = share(job.texts["shard"], -(-options.count // options.batch))
    first, last = batches.start * options.batch, min(batches.stop * options.batch, options.count)
    conditions = draw_conditions(read_table(job.inputs["table"]), options.count, options.seed)[first:last]
    denoiser, facts = on_best_device(denoiser)
    pixels = synthesise(denoiser, known.encode(conditions), options, first)
    with atomic(job.outputs["samples"]) as partial:
        np.save(partial, pixels, allow_pickle=False)
    job.facts |= facts


def main(argv: list[str] | None = None) -> None:
    """Run the stage from the command line."""
    run("synthesise", work, inputs=("model", "table"), outputs=("samples",), texts=("shard",), argv=argv)


if __name__ == "__main__":
    main()

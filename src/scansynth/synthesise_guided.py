"""Synthesise images at one guidance scale, for conditions of validation images: a point of the sweep.

Image i has the same condition and the same noise at every scale, so that scales differ by guidance alone.
"""

from scansynth import model
from scansynth.config import Settings
from scansynth.sections import Sample
from scansynth.stage import Job, run
from scansynth.store import read_table
from scansynth.synthesise import draw_conditions, synthesise, wanted, write_images


def at_scale(settings: Settings, scale: float, seed: int) -> Sample:
    """How the sweep's images are made: as all samples are, but for guidance, number and seed."""
    return settings.sample.model_copy(update={"guidance": scale, "count": settings.guidance.count, "seed": seed})


def work(job: Job) -> None:
    """The stage; ``--scale 2`` says which."""
    options = at_scale(job.settings, float(job.texts["scale"]), job.settings.guidance.seed)
    denoiser, description = model.load_calibrated(job.inputs["model"])
    conditions = draw_conditions(read_table(job.inputs["table"]), options.count, options.seed, "val")
    denoiser, facts = model.on_best_device(denoiser)
    pixels = synthesise(denoiser, *wanted(description, conditions), options)
    write_images(job.outputs["samples"], pixels)
    job.facts |= facts | {"guidance": options.guidance, "seed": options.seed, "images": options.count}


def main(argv: list[str] | None = None) -> None:
    """Run the stage from the command line."""
    run("synthesise_guided", work, inputs=("model", "table"), outputs=("samples",), texts=("scale",), argv=argv)


if __name__ == "__main__":
    main()

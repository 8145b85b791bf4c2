"""Synthetic images for the classifiers of a fraction, by a generator that has seen that fraction's patients alone."""

import hashlib

from scansynth import model, stage
from scansynth.downstream.task import task_of
from scansynth.files import read_json
from scansynth.store import read_table
from scansynth.synthesise import draw_conditions, synthesise, wanted, write_samples


def seed_of(purpose: str, seed: int) -> int:
    """A seed of 32 bits of its own for each purpose, so that no image is one of another purpose's."""
    return int.from_bytes(hashlib.sha256(f"{purpose}:{seed}".encode()).digest()[:4], "big")


def work(job: stage.Job) -> None:
    """Synthesise images that show what the task's training images do, and after them more of the rarest class."""
    options, table = job.settings.synthetic, read_table(job.inputs["table"])
    task = task_of(table, read_json(job.inputs["manifest"]), job.settings.task)
    rows = [table[i] for i in task.rows(table, "train")]
    rare, missing = task.rare(rows)
    more = min(missing, options.images)
    conditions = draw_conditions(rows, options.images, seed_of("conditions", options.seed))
    conditions += draw_conditions(rare, more, seed_of("rare conditions", options.seed))
    denoiser, description = model.load_calibrated(job.inputs["model"])
    denoiser, facts = model.on_best_device(denoiser)
    seed = seed_of("augmentation", options.seed)
    how = job.settings.sample.model_copy(update={"seed": seed, "guidance": options.guidance, "count": len(conditions)})
    write_samples(job, synthesise(denoiser, *wanted(description, conditions), how), conditions)
    job.facts |= facts | {"seed": seed, "images": options.images, "rare": more}


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    stage.run(
        "downstream.synthetic",
        work,
        inputs=("model", "table", "manifest"),
        outputs=("samples", "conditions"),
        argv=argv,
    )


if __name__ == "__main__":
    main()

"""Baseline: the network before it has seen an image: initial weights, and a standard normal for its prior."""

import torch

from scansynth import model
from scansynth.stage import Job, run
from scansynth.store import open_store
from scansynth.synthesise import sample_into


def work(job: Job) -> None:
    """The stage."""
    store, settings = open_store(job.inputs["pixels"]), job.settings
    torch.manual_seed(settings.sample.seed)
    known = model.vocabulary(store.manifest)
    denoiser = model.build(store.pixels.shape[1:], known, settings.network, settings.diffusion)
    sample_into(job, denoiser, store.manifest)


def main(argv: list[str] | None = None) -> None:
    """Run the stage from the command line."""
    run(
        "baselines.untrained",
        work,
        inputs=("pixels", "table", "manifest"),
        outputs=("samples", "conditions"),
        argv=argv,
    )


if __name__ == "__main__":
    main()

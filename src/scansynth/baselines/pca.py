"""Baseline: draws from a Gaussian with the mean and covariance of the training images' pixels.

What linear statistics alone can do; a diffusion model that is not better has learned no more than a PCA.
"""

import numpy as np

from scansynth.stage import Job, run
from scansynth.store import Store, evenly, open_store
from scansynth.synthesise import draw_conditions, write_samples

FITTED_IMAGES = 10_000  # training images, at most, that the Gaussian is fitted to


def gaussian_draws(images: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draws, uint8, from the Gaussian fitted to ``images`` (n, ...), uint8; draw i depends on (seed, i) alone.

    A sum of the centred images with independent normal weights over sqrt(n - 1) has exactly their covariance: no
    decomposition is needed.
    """
    flat = images.reshape(len(images), -1).astype(np.float32)
    mean = flat.mean(0)
    weights = np.stack([np.random.default_rng([seed, i]).standard_normal(len(flat)) for i in range(count)])
    draws = mean + (weights / np.sqrt(len(flat) - 1)).astype(np.float32) @ (flat - mean)
    return draws.round().clip(0, 255).astype(np.uint8).reshape(count, *images.shape[1:])


def work(job: Job) -> None:
    """The stage."""
    store: Store = open_store(job.inputs["pixels"])
    options = job.settings.sample
    images = store.pixels[evenly(store.indices("train"), FITTED_IMAGES)]
    write_samples(
        job,
        gaussian_draws(images, options.count, options.seed),
        draw_conditions(store.table, options.count, options.seed),
    )
    job.facts |= {"seed": options.seed, "images": options.count, "fitted_to": len(images)}


def main(argv: list[str] | None = None) -> None:
    """Run the stage from the command line."""
    run("baselines.pca", work, inputs=("pixels", "table", "manifest"), outputs=("samples", "conditions"), argv=argv)


if __name__ == "__main__":
    main()

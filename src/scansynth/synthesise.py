"""Synthesise: image i is a function of (seed, i) alone. Shards are runs of batches; any number gives the same images.

What computes is imported where it is used, since gathering shards does without torch.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from scansynth.conditions import COLUMNS, vocabulary
from scansynth.errors import ScansynthError
from scansynth.files import atomic
from scansynth.sections import Sample
from scansynth.shards import share
from scansynth.stage import Job, run
from scansynth.store import read_table, write_table

if TYPE_CHECKING:
    from torch import Tensor

    from scansynth.diffusion.denoiser import Denoiser


def draw_conditions(table: list[dict[str, str]], count: int, seed: int, split: str = "train") -> list[dict[str, str]]:
    """What each image to be made is to show: findings, view, sex and age of an image of the split, drawn at random.

    Raises:
        ScansynthError: if the split has no image.
    """
    pool = [row for row in table if row["split"] == split]
    if count and not pool:
        raise ScansynthError(f"no image is in the split {split!r}, whose labels are asked for: see images.{split}")
    drawn = [pool[np.random.default_rng([seed, i, 1]).integers(len(pool))] for i in range(count)]
    return [{column: row[column] for column in COLUMNS} for row in drawn]


def wanted(description: Mapping[str, Any], rows: Sequence[Mapping[str, str]]) -> tuple[np.ndarray, np.ndarray]:
    """What images are to show, and what guidance leads them away from: a model's condition vectors, (n, conditions).

    That is the same patient and view with no finding, so that guidance makes more of the disease and of nothing else.
    Where nothing is said of findings, or the model knows no label for their absence, it is the null token: a row of 0.
    """
    known, nothing = vocabulary(description), description["no_finding"]
    shown = known.encode(rows)
    if nothing not in known.findings:
        return shown, np.zeros_like(shown)
    away = known.encode([{**row, "findings": nothing} for row in rows])
    away[[not row["findings"] for row in rows]] = 0
    return shown, away


def synthesise(
    denoiser: "Denoiser", shown: np.ndarray, away: np.ndarray, options: Sample, first: int = 0
) -> np.ndarray:
    """Images of what is ``wanted``, both (n, conditions), as uint8 of shape (n, channels, size, size).

    They are the images from number ``first`` on, where a batch begins.
    """
    pixels = np.empty((len(shown), *denoiser.shape), dtype=np.uint8)
    for start in tqdm(range(0, len(shown), options.batch), unit="batch"):
        part = slice(start, start + options.batch)
        made = _batch(denoiser, shown[part], away[part], first + start, options)
        pixels[part] = to_uint8(made)[: len(pixels[part])]
    return pixels


def _batch(denoiser: "Denoiser", shown: np.ndarray, away: np.ndarray, first: int, options: Sample) -> "Tensor":
    """One batch, always of the same size: kernels are chosen by it, and with them the last bits of an image."""
    import torch

    from scansynth.diffusion.guidance import guided
    from scansynth.diffusion.solvers import SOLVERS

    device = next(denoiser.parameters()).device
    generators = [np.random.default_rng([options.seed, first + i, 0]) for i in range(options.batch)]

    def filled(vectors: np.ndarray) -> "Tensor":
        return torch.from_numpy(np.resize(vectors, (options.batch, vectors.shape[1]))).to(device)

    def noise() -> "Tensor":
        drawn = [generator.standard_normal(denoiser.shape, dtype=np.float32) for generator in generators]
        return torch.from_numpy(np.stack(drawn)).to(device)

    with torch.inference_mode():
        denoise = guided(denoiser, filled(shown), options.guidance, options.guidance_range, filled(away))
        x = denoiser.prior.draw(noise(), denoiser.sde.grid(2)[0], filled(shown))
        return SOLVERS[options.solver](denoise, denoiser.sde, x, options.steps, noise)


def to_uint8(images: "Tensor") -> np.ndarray:
    """Images in [-1, 1] as uint8, 0 to 255; what lies outside is clipped."""
    return images.add(1).mul(127.5).round().clamp(0, 255).byte().cpu().numpy()


def sample_into(job: Job, denoiser: "Denoiser", description: Mapping[str, Any]) -> None:
    """Synthesise as ``job.settings.sample`` says, for conditions drawn like the training set's, and write it."""
    from scansynth import model

    options = job.settings.sample
    conditions = draw_conditions(read_table(job.inputs["table"]), options.count, options.seed)
    denoiser, facts = model.on_best_device(denoiser)
    pixels = synthesise(denoiser, *wanted(description, conditions), options)
    write_samples(job, pixels, conditions)
    job.facts |= facts | {"seed": options.seed, "images": options.count}


def write_images(path: Path, pixels: np.ndarray) -> None:
    """Write an array of images, atomically."""
    with atomic(path) as partial:
        np.save(partial, pixels, allow_pickle=False)


def write_samples(job: Job, pixels: np.ndarray, conditions: list[dict[str, str]]) -> None:
    """Write the images and, a row an image, what each was asked to show."""
    write_images(job.outputs["samples"], pixels)
    write_table(job.outputs["conditions"], COLUMNS, conditions)


def work(job: Job) -> None:
    """The stage; ``--shard 2-of-8`` says which."""
    from scansynth import model

    options = job.settings.sample
    denoiser, description = model.load_calibrated(job.inputs["model"])
    # Whole batches, the last one's end apart: an image is in the same batch in any number of shards.
    batches = share(job.texts["shard"], -(-options.count // options.batch))
    first, last = batches.start * options.batch, min(batches.stop * options.batch, options.count)
    conditions = draw_conditions(read_table(job.inputs["table"]), options.count, options.seed)[first:last]
    denoiser, facts = model.on_best_device(denoiser)
    pixels = synthesise(denoiser, *wanted(description, conditions), options, first)
    write_images(job.outputs["samples"], pixels)
    job.facts |= facts


def main(argv: list[str] | None = None) -> None:
    """Run the stage from the command line."""
    run("synthesise", work, inputs=("model", "table"), outputs=("samples",), texts=("shard",), argv=argv)


if __name__ == "__main__":
    main()

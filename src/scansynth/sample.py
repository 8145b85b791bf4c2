"""Synthesise images with a trained model. Image i is a function of (seed, i) alone, whatever the batch."""

import csv
import io
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from scansynth import model
from scansynth.device import best_device, facts, resolve_precision
from scansynth.diffusion.denoiser import Denoiser, guided
from scansynth.diffusion.solvers import SOLVERS
from scansynth.files import atomic, write_text
from scansynth.sections import Sample
from scansynth.stage import Job, run
from scansynth.store import encode, read_table


def draw_conditions(table: list[dict[str, str]], count: int, seed: int) -> list[dict[str, str]]:
    """Findings and view of each image to be made: those of a training image drawn at random."""
    pool = [row for row in table if row["split"] == "train"]
    drawn = [pool[np.random.default_rng([seed, i, 1]).integers(len(pool))] for i in range(count)]
    return [{"findings": row["findings"], "view": row["view"]} for row in drawn]


def synthesise(denoiser: Denoiser, conditions: np.ndarray, options: Sample) -> np.ndarray:
    """Images of the ``conditions`` (n, findings + views), as uint8 of shape (n, channels, size, size)."""
    pixels = np.empty((len(conditions), *denoiser.shape), dtype=np.uint8)
    for part in tqdm(list(_batches(len(conditions), options.batch)), unit="batch"):
        pixels[part] = to_uint8(_batch(denoiser, conditions[part], part, options))[: len(pixels[part])]
    return pixels


@torch.inference_mode()
def _batch(denoiser: Denoiser, conditions: np.ndarray, part: slice, options: Sample) -> Tensor:
    """One batch, always of the same size: kernels are chosen by it, and with them the last bits of an image."""
    device = next(denoiser.parameters()).device
    indices = range(part.start, part.start + options.batch)
    filled = np.resize(conditions, (options.batch, conditions.shape[1]))
    generators = [np.random.default_rng([options.seed, i, 0]) for i in indices]

    def noise() -> Tensor:
        drawn = [generator.standard_normal(denoiser.shape, dtype=np.float32) for generator in generators]
        return torch.from_numpy(np.stack(drawn)).to(device)

    denoise = guided(denoiser, torch.from_numpy(filled).to(device), options.guidance)
    return SOLVERS[options.solver](denoise, denoiser.sde, noise(), options.steps, noise)


def _batches(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def to_uint8(images: Tensor) -> np.ndarray:
    """Images in [-1, 1] as uint8, 0 to 255; what lies outside is clipped."""
    return images.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).cpu().numpy()


def write_samples(job: Job, pixels: np.ndarray, conditions: list[dict[str, str]]) -> None:
    """Write the images and, a row an image, what each was asked to show."""
    with atomic(job.outputs["samples"]) as partial:
        np.save(partial, pixels, allow_pickle=False)
    text = io.StringIO()
    writer = csv.DictWriter(text, ("findings", "view"), lineterminator="\n")
    writer.writeheader()
    writer.writerows(conditions)
    write_text(job.outputs["conditions"], text.getvalue())


def sample_into(job: Job, denoiser: Denoiser, known: model.Vocabulary) -> None:
    """Synthesise as ``job.settings.sample`` says, for conditions drawn like the training set's, and write it."""
    options, device = job.settings.sample, best_device()
    precision = resolve_precision("auto", device)
    conditions = draw_conditions(read_table(job.inputs["table"]), options.count, options.seed)
    denoiser = denoiser.to(device, memory_format=torch.channels_last).eval()
    denoiser.bf16 = precision == "bf16"
    pixels = synthesise(denoiser, encode(conditions, known.findings, known.views), options)
    write_samples(job, pixels, conditions)
    job.facts |= facts(device, precision) | {"seed": options.seed, "images": options.count}


def work(job: Job) -> None:
    """The stage."""
    denoiser, description = model.load(job.inputs["model"])
    sample_into(job, denoiser, model.vocabulary(description))


def main(argv: list[str] | None = None) -> None:
    """Run the stage from the command line."""
    run("sample", work, inputs=("model", "table"), outputs=("samples", "conditions"), argv=argv)


if __name__ == "__main__":
    main()

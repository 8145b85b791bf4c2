"""Diversity: how different the images of a set are from each other, and those that show the same findings."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from scansynth import stage
from scansynth.evaluate.bootstrap import Estimate, multiplicities, rounded
from scansynth.evaluate.classifier import Classifier, as_input, load
from scansynth.evaluate.imagesets import INPUTS, ImageSet, open_sets
from scansynth.evaluate.report import header
from scansynth.files import read_json, write_json
from scansynth.sections import Evaluate
from scansynth.store import open_store

PAIRS = 100  # of a set, at most: the similarity of two images of 128 x 128 pixels takes 10 ms
LEAST = 5  # pairs of patients that an interval needs
BATCH = 16  # pairs at once

BETAS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # weights of the scales, from the finest
WINDOW = 11  # pixels a side, that structural similarity is taken over

DRAWN = (
    f"at most {PAIRS} pairs of a set, of images of two patients. Each patient has one partner, and images of the two "
    "are paired, each once at most: pairs of patients are independent, and are what is resampled"
)
UNITS = {
    "ms_ssim": "multi-scale structural similarity of two images, 0 to 1; the lower, the more diverse",
    "perceptual_distance": "perceptual distance in probe layers (LPIPS-like), 0 to 16; the higher, the more diverse. "
    "Squared difference of unit vectors of activations, averaged over place and summed over the probe's 4 blocks: "
    "LPIPS (arXiv:1801.03924, eq. 1) with this network instead of its own, and weights of 1. It is comparable within "
    "this file alone",
}
KINDS = {
    "all": "Any two samples",
    "within_condition": "Two samples of the same findings and view",
}
REAL = {"reference": "held-out real images", "floor": "real training images (the floor)"}
LIMITS = (
    "More diverse than real images is no virtue: noise is the most diverse of all by MS-SSIM, and images of one "
    "condition that differ more than real ones do may not show what they were asked to. The figures are means over "
    "pairs, in which a few images that are alike do not show: for those see recall, coverage and the search for copies."
)


def ms_ssim_pairs(pixels: np.ndarray, pairs: int, seed: int) -> np.ndarray:
    """MS-SSIM of random pairs of the images (n, channels, size, size): see ``ms_ssim``.

    No image is in two pairs: of n images there are n // 2 at most.
    """
    return ms_ssim(*_drawn(pixels, pairs, seed))


def perceptual_pairs(pixels: np.ndarray, weights: Path, pairs: int, seed: int) -> np.ndarray:
    """Perceptual distance of the same pairs, in the probe of the file ``weights``: see ``perceptual_distance``."""
    return perceptual_distance(*_drawn(pixels, pairs, seed), load(weights)[0])


def draw_pairs(
    groups: np.ndarray, conditions: Sequence[Hashable], most: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Random pairs of images of one condition and of two patients.

    Each patient has one partner at most, and the images of both are paired: pairs of patients are independent.

    Args:
        groups: (n,), the patient of each image.
        conditions: n, what each image shows.
        most: pairs at most; as many pairs of patients as there are, before a second pair of images of any.
        seed: of the draw.

    Returns:
        Positions of the images, int64 (pairs, 2), and the number of their patients' pair, int64 (pairs,).
    """
    order = np.random.default_rng(seed).permutation(len(groups))
    ranks = defaultdict(list)
    partnered: set[int] = set()
    waiting: dict[Hashable, int] = {}
    couples = []
    for rank, i in enumerate(order):
        patient, condition = int(groups[i]), conditions[i]
        ranks[patient, condition].append(rank)
        if patient in partnered:
            continue
        other = waiting.setdefault(condition, patient)
        if other in partnered:
            waiting[condition] = patient
        elif other != patient:
            couples.append((other, patient))
            partnered |= {other, patient}
    turns, known = [], set(conditions)
    for number, (one, other) in enumerate(couples[:most]):
        pairs = [pair for key in known for pair in zip(ranks[one, key], ranks[other, key], strict=False)]
        turns += [(turn, number, *pair) for turn, pair in enumerate(sorted(pairs))]
    chosen = np.array(sorted(turns)[:most], dtype=np.int64).reshape(-1, 4)
    return order[chosen[:, 2:]], chosen[:, 1]


def scales(size: int) -> tuple[float, ...]:
    """Weights, of sum 1, of the scales of MS-SSIM that fit into images of this size: 3 to 5, for 64 to 256 pixels.

    The published ones (Wang et al. 2003, doi:10.1109/ACSSC.2003.1292216) from the finest on; torchmetrics asks for
    a size // (scales - 1)**2 of the window at least.
    """
    count = max(n for n in range(1, len(BETAS) + 1) if size // max(1, n - 1) ** 2 >= WINDOW)
    return tuple(beta / sum(BETAS[:count]) for beta in BETAS[:count])


def ms_ssim(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Multi-scale structural similarity of each pair, float64 (n,) in 0 to 1: 1 for identical images.

    The mean over channels; 0 where the structure of some scale is opposite. Images are uint8 (n, channels, size, size).
    """
    betas = scales(first.shape[-1])

    def similarity(*pair: np.ndarray) -> Tensor:
        one, other = (torch.from_numpy(images).float() / 255 for images in pair)
        return multiscale_structural_similarity_index_measure(
            one, other, data_range=1.0, kernel_size=WINDOW, betas=betas, reduction="none"
        )

    return _batched(similarity, first, second)


def perceptual_distance(first: np.ndarray, second: np.ndarray, probe: Classifier) -> np.ndarray:
    """Distance of each pair in the probe's activations, float64 (n,), 0 or more: 0 for identical images.

    As LPIPS (Zhang et al. 2018, arXiv:1801.03924, eq. 1) with all weights 1: activations of each block are made unit
    vectors over the channels; squared differences are averaged over place and summed over blocks. Images are uint8
    (n, channels, size, size).
    """

    def distance(*pair: np.ndarray) -> Tensor:
        blocks = zip(*(_activations(probe, images) for images in pair), strict=True)
        return sum((one - other).square().sum(1).mean((1, 2)) for one, other in blocks)

    return _batched(distance, first, second)


def diversity(
    sets: dict[str, ImageSet], probe: Classifier, manifest: dict[str, Any], settings: Evaluate
) -> dict[str, Any]:
    """The result file: both measures of all pairs and of those of one condition, with intervals and words.

    The figures of a kind of pairs are null, with the reason, where a set has too few of them.
    """
    betas = scales(next(iter(sets.values())).array.shape[-1])
    kinds = {kind: _of_kind(kind, sets, probe, settings) for kind in KINDS}
    return {
        "metric": "MS-SSIM and perceptual distance in probe layers (LPIPS-like) of two images of a set",
        **header(manifest, {name: len(images) for name, images in sets.items()}, settings),
        "unit": UNITS,
        "ms_ssim": {"scales": len(betas), "weights": [rounded(beta) for beta in betas], "window": WINDOW},
        "pairs": DRAWN,
        **kinds,
        "verdicts": verdicts(kinds),
    }


def verdicts(kinds: dict[str, Any]) -> list[str]:
    """Plain sentences: are two samples as different as two real images, by each measure?

    A difference counts where its 95% interval lies on one side of 0.
    """
    sentences = []
    for kind, subject in KINDS.items():
        found = kinds[kind]
        if found["reason"]:
            sentences.append(f"{subject}: there is no figure, since {found['reason']}.")
            continue
        for other, words in REAL.items():
            low, high = found["ms_ssim"][f"samples_minus_{other}"]["interval"]
            similarity = _answer(-high, -low)
            distance = _answer(*found["perceptual_distance"][f"samples_minus_{other}"]["interval"])
            sentences.append(
                f"{subject}, beside two {words}: {similarity} by MS-SSIM, {distance} by perceptual distance."
            )
    return [*sentences, LIMITS]


def _answer(low: float, high: float) -> str:
    if high < 0:
        return "less diverse"
    return "more diverse" if low > 0 else "not told apart"


def _of_kind(kind: str, sets: dict[str, ImageSet], probe: Classifier, settings: Evaluate) -> dict[str, Any]:
    """Both measures of each set and the samples' less each other set's, the numbers of pairs, why there are none."""
    shown = {
        name: [(row["findings"], row["view"]) if kind == "within_condition" else None for row in images.rows]
        for name, images in sets.items()
    }
    drawn = {name: draw_pairs(images.groups, shown[name], PAIRS, settings.seed) for name, images in sets.items()}
    numbers = {name: {"pairs": len(of), "of_patients": len(np.unique(of))} for name, (_, of) in drawn.items()}
    found: dict[str, Any] = {"numbers": numbers, "reason": None, **dict.fromkeys(UNITS)}
    few = [name for name, number in numbers.items() if number["of_patients"] < LEAST]
    if kind == "within_condition" and len(set(shown["samples"])) == 1:
        return found | {"reason": "all samples have the same findings and view, or none"}
    if few:
        return found | {"reason": f"of {' and '.join(few)} there are fewer than {LEAST} such pairs of patients"}
    generator = np.random.default_rng(settings.seed)
    estimates: dict[str, dict[str, Estimate]] = {name: {} for name in UNITS}
    for key, (pairs, couples) in drawn.items():
        first, second = (sets[key].array[sets[key].indices[positions]] for positions in pairs.T)
        times = multiplicities(generator, couples, settings.bootstrap)
        for name, values in (
            ("ms_ssim", ms_ssim(first, second)),
            ("perceptual_distance", perceptual_distance(first, second, probe)),
        ):
            estimates[name][key] = Estimate(float(values.mean()), times @ values / times.sum(1))
    return found | {name: _compared(of_sets) for name, of_sets in estimates.items()}


def _compared(found: dict[str, Estimate]) -> dict[str, Any]:
    others = {f"samples_minus_{name}": found["samples"] - found[name] for name in found if name != "samples"}
    return {name: estimate.as_json() for name, estimate in (found | others).items()}


def _batched(function: Callable[..., Tensor], first: np.ndarray, second: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        parts = [function(first[i : i + BATCH], second[i : i + BATCH]) for i in range(0, len(first), BATCH)]
        return torch.cat(parts).double().numpy()


def _activations(probe: Classifier, pixels: np.ndarray) -> Iterator[Tensor]:
    """Unit vectors of activations, (n, channels, height, width), of each block of the probe."""
    values = 2 * as_input(pixels) - 1
    for module in probe.body:
        if isinstance(module, nn.AdaptiveAvgPool2d):
            return
        values = module(values)
        if isinstance(module, nn.SiLU):
            yield F.normalize(values, dim=1)


def _drawn(pixels: np.ndarray, pairs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    chosen, _ = draw_pairs(np.arange(len(pixels)), [None] * len(pixels), pairs, seed)
    return pixels[chosen[:, 0]], pixels[chosen[:, 1]]


def work(job: stage.Job) -> None:
    """Measure the pairs and write the figures."""
    sets = open_sets(open_store(job.inputs["pixels"]), job.inputs)
    probe, _ = load(job.inputs["weights"])
    result = diversity(sets, probe, read_json(job.inputs["manifest"]), job.settings.evaluate)
    write_json(job.outputs["diversity"], result)


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    inputs = ("pixels", "table", "manifest", *INPUTS, "weights")
    stage.run("evaluate.diversity", work, inputs=inputs, outputs=("diversity",), argv=argv)


if __name__ == "__main__":
    main()

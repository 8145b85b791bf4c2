"""Which guidance scale? The distance of samples from real images against how well their labels are read.

Classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598) trades the one for the other. The scale is chosen on
samples for validation patients; what is reported of it is measured anew, of fresh samples beside test patients.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scansynth import model, stage
from scansynth.config import Settings
from scansynth.errors import ScansynthError
from scansynth.evaluate import reader, segmenter
from scansynth.evaluate.anatomy.domains import Measure, domain_of, enlarged_hearts, measure_of, of_domain
from scansynth.evaluate.anatomy.words import hearts, labels
from scansynth.evaluate.bootstrap import Estimate, multiplicities
from scansynth.evaluate.extractors import ProbeExtractor
from scansynth.evaluate.fidelity import label_fidelity
from scansynth.evaluate.frechet import frechet_estimates
from scansynth.evaluate.imagesets import ImageSet, split_set
from scansynth.evaluate.kernel import kernel_estimates
from scansynth.evaluate.report import header
from scansynth.evaluate.tradeoff import draw
from scansynth.files import write_json
from scansynth.store import Store, open_store
from scansynth.synthesise import draw_conditions, synthesise, wanted, write_samples
from scansynth.synthesise_guided import at_scale

RULE = (
    "On validation images: of the scales whose Frechet distance (probe features) is within the tolerance of the "
    "smallest, or of real training images' (the floor) if that is larger, or is not told apart from the smallest (95% "
    "interval of the difference), the smallest whose labels are read as well as those of real validation images (mean "
    "area under the ROC curves, inside or above the 95% interval of theirs), as more would be a caricature; if none is "
    "so, the one whose labels are read best. Where no class can be read, the nearest scale."
)


@dataclass(frozen=True)
class Instruments:
    """What the sets of images are measured with."""

    probe: ProbeExtractor
    reader: reader.Reader
    chest: Measure | None  # the measures of chests; None where images show something else
    channels: Sequence[str]


@dataclass(frozen=True)
class Figures:
    """The Frechet distance of each set from the ``reference``, and all figures as the report has them."""

    distances: dict[str, Estimate]
    report: dict[str, Any]


def measured(sets: dict[str, ImageSet], instruments: Instruments, settings: Settings) -> Figures:
    """Distances of each set from that named ``reference``, how its labels are read, and its hearts if it is of chests.

    Replicates draw the same reference images for all sets, so that distances may be subtracted.
    """
    options = settings.evaluate
    generator = np.random.default_rng(options.seed)
    drawn = {name: multiplicities(generator, each.groups, options.bootstrap) for name, each in sets.items()}
    features = {
        name: np.concatenate([instruments.probe.features(batch) for batch in each.batches()])
        for name, each in sets.items()
    }
    size = min(options.kid_subset, *map(len, sets.values()))
    distances = frechet_estimates(features, drawn)
    kernel, _ = kernel_estimates(features, drawn, size, options.kid_subsets, options.seed)
    report: dict[str, Any] = {
        "frechet_distance": {name: estimate.as_json() for name, estimate in distances.items()},
        "kernel_distance": {name: estimate.as_json() for name, estimate in kernel.items()},
        "label_fidelity": label_fidelity(sets, instruments.reader, options.bootstrap, options.seed),
    }
    if instruments.chest:
        values = {
            name: of_domain("chest", each, instruments.channels, instruments.chest) for name, each in sets.items()
        }
        report["cardiomegaly"] = enlarged_hearts(sets, values, drawn)
    return Figures(distances, report)


def choose(
    distances: dict[float, Estimate],
    floor: float,
    fidelities: dict[float, float | None],
    enough: float | None,
    tolerance: float,
) -> tuple[float, list[float]]:
    """The scale by ``RULE``, and those among which it was chosen, of distances and mean areas by scale, rising.

    Nothing is gained by being nearer than real images are, hence the ``floor``, or read better, hence ``enough``: the
    lower end of the interval of their mean area.
    """
    nearest = min(distances, key=lambda scale: distances[scale].value)
    least = distances[nearest]
    near = [
        scale
        for scale, distance in distances.items()
        if distance.value <= (1 + tolerance) * max(least.value, floor) or (distance - least).interval[0] <= 0
    ]
    read = {scale: fidelity for scale in near if (fidelity := fidelities[scale]) is not None}
    if not read:
        return nearest, near
    best = max(read, key=lambda scale: read[scale])
    well = [scale for scale, fidelity in read.items() if enough is not None and fidelity >= enough]
    return (well[0] if well else best), near


def swept(paths: Sequence[Path], store: Store, settings: Settings) -> dict[float, ImageSet]:
    """The sweep's images by scale.

    Raises:
        ScansynthError: if there are not as many files as scales, or images as were asked for.
    """
    options = settings.guidance
    if len(paths) != len(options.scales):
        raise ScansynthError(f"--swept names {len(paths)} files for {len(options.scales)} scales (guidance.scales)")
    rows = draw_conditions(store.table, options.count, options.seed, "val")
    found = {}
    for scale, path in zip(options.scales, paths, strict=True):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if array.shape != (options.count, *store.pixels.shape[1:]):
            raise ScansynthError(
                f"{path}: an array of shape {array.shape}, not {options.count} images (guidance.count) of the store's "
                "shape: make it anew by scansynth.synthesise_guided"
            )
        found[scale] = _synthetic(array, rows)
    return found


def _synthetic(array: np.ndarray, rows: list[dict[str, str]]) -> ImageSet:
    return ImageSet(array, np.arange(len(array)), rows, np.arange(len(array)))


def fresh(job: stage.Job, store: Store, scale: float) -> ImageSet:
    """New images at ``scale``, for conditions of test images; they are kept."""
    options = at_scale(job.settings, scale, job.settings.guidance.seed + 1)
    denoiser, description = model.load_calibrated(job.inputs["model"])
    rows = draw_conditions(store.table, options.count, options.seed, "test")
    denoiser, facts = model.on_best_device(denoiser)
    job.facts |= facts | {"guidance": scale, "seed": options.seed}
    pixels = synthesise(denoiser, *wanted(description, rows), options)
    write_samples(job, pixels, rows)
    return _synthetic(pixels, rows)


def verdicts(result: dict[str, Any]) -> list[str]:
    """Plain sentences: what was chosen and why, and what the fresh samples are like."""
    chosen, final = result["chosen"], result["test"]
    fidelity = result["validation"]["label_fidelity"]
    key, near = f"{chosen['scale']:g}", ", ".join(f"{scale:g}" for scale in chosen["among"])
    area = fidelity[key]["mean_auroc"]
    said = "" if area is None else f"; there its labels are read with a mean area of {area:.2f}"
    distance = final["frechet_distance"]
    low, high = distance["samples"]["interval"]
    sentences = [
        f"Guidance of {key} was chosen on validation images, among those that are near enough ({near}){said}.",
        f"Fresh samples at that scale have a Frechet distance of {distance['samples']['value']:.3g} [{low:.3g}, "
        f"{high:.3g}] from test images; real training images have {distance['floor']['value']:.3g}.",
        *labels({"reader": result["reader"], "sets": final["label_fidelity"]}),
    ]
    return [*sentences, hearts(final["cardiomegaly"])] if "cardiomegaly" in final else sentences


def work(job: stage.Job) -> None:
    """Choose the scale, measure it anew, write what was found, and draw the sweep."""
    store, settings, options = open_store(job.inputs["pixels"]), job.settings, job.settings.guidance
    domain, channels = domain_of(settings), store.manifest["channels"]
    instruments = Instruments(
        ProbeExtractor(job.inputs["weights"], len(channels)),
        reader.load(job.inputs["reader"]),
        measure_of(domain, job.lists["segmenter"]) if domain == "chest" else None,
        channels,
    )
    floor = split_set(store, "train", options.count)
    by_scale = swept(job.lists["swept"], store, settings)
    sweep = {"reference": split_set(store, "val"), "floor": floor}
    sweep |= {f"{scale:g}": images for scale, images in by_scale.items()}
    found = measured(sweep, instruments, settings)
    fidelity = found.report["label_fidelity"]
    real = fidelity["reference"]["mean_auroc_interval"]
    scale, near = choose(
        {scale: found.distances[f"{scale:g}"] for scale in by_scale},
        found.distances["floor"].value,
        {scale: fidelity[f"{scale:g}"]["mean_auroc"] for scale in by_scale},
        real[0] if real else None,
        options.tolerance,
    )
    final = {"reference": split_set(store, "test"), "samples": fresh(job, store, scale), "floor": floor}
    about = instruments.reader.about
    result = {
        "metric": "Frechet and kernel distance in probe features against label fidelity, by scale of guidance",
        **header(store.manifest, {name: len(each) for name, each in final.items()}, settings.evaluate),
        "reader": {"trained_on": "training images", "val_aurocs": about.val_aurocs, "reason": about.reason},
        "segmenter": segmenter.load(job.lists["segmenter"][0]).about if instruments.chest else None,
        "scales": list(options.scales),
        "rule": RULE,
        "tolerance": options.tolerance,
        "chosen": {"scale": scale, "among": near},
        "validation": {"images": {name: len(each) for name, each in sweep.items()}, "seed": options.seed}
        | found.report,
        "test": {"seed": options.seed + 1, **measured(final, instruments, settings).report},
    }
    result["verdicts"] = verdicts(result)
    write_json(job.outputs["report"], result)
    draw(job.outputs["plot"], result)


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    inputs = ("pixels", "table", "manifest", "model", "weights", "reader")
    lists, outputs = ("swept", "segmenter"), ("report", "plot", "samples", "conditions")
    stage.run("evaluate.guidance", work, inputs=inputs, lists=lists, outputs=outputs, argv=argv)


if __name__ == "__main__":
    main()

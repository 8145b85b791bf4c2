"""The memorisation audit: are synthetic images copies of training images, and would the search see it if they were?"""

from typing import Any

import numpy as np
from scipy.stats import binomtest, fisher_exact

from scansynth import stage
from scansynth.evaluate import pairs
from scansynth.evaluate.bootstrap import METHOD, Estimate, rounded
from scansynth.evaluate.copies import Audit, Matches
from scansynth.evaluate.extractors import ProbeExtractor
from scansynth.evaluate.imagesets import INPUTS, SYNTHETIC, ImageSet, open_sets, real_set, split_set
from scansynth.evaluate.nearness import nearer_to_training
from scansynth.evaluate.neighbours import GRID, MARGIN
from scansynth.evaluate.planted import KINDS, Planted, plant
from scansynth.evaluate.report import header
from scansynth.files import atomic, write_json
from scansynth.picture import COLOUR
from scansynth.store import Store, evenly, open_store

HELD_OUT = 5000  # images at most that thresholds are set by
QUANTILES = (0.05, 0.5, 0.95, 0.99, 1.0)

DETECTORS = {
    "correlation": f"of the images, averaged to {GRID} x {GRID} cells and whitened by the training images' principal "
    "components",
    "similarity": "correlation of the probe's features, whitened likewise: of the image in each symmetry, and as it "
    "lies on its neighbour by pixels",
}
RULE = (
    "An image is called a copy if it is more alike to a training image than the threshold, by either detector; each "
    "has half of the false alarms"
)
SET_BY = (
    "the tail of the held-out images' similarities to their nearest training images: exponential excesses of Fisher's "
    "z over the highest tenth (peaks over a threshold, Pickands 1975), with the uncertainty of their mean. Held-out "
    "images themselves are judged by thresholds that other patients set (10 folds)"
)
FOUND = "called a copy, and of an image of the patient that it is a copy of"
INTERVAL = (
    "Clopper-Pearson, 95%, which takes images (and patients, where these are counted) for independent. Of "
    f"nearer_to_training: {METHOD}"
)
NEARER = (
    "share of the images whose nearest training image is nearer than their nearest held-out image, among as many of "
    "both: 0.5 for images that owe nothing to a single patient. held_out is the control, images of other held-out "
    "patients: as far as it is from 0.5, training and held-out patients are of different kinds. The Gaussian has the "
    "training images' covariance, which draws it to them too"
)
LIMITS = (
    f"The audit sees whole images in {GRID} x {GRID} cells, mirrored or moved by up to 1/{GRID // MARGIN} of the side. "
    "It does not see copies of a part (a lesion, a marker), and may miss those that are rotated, enlarged or bent.",
    "Not to find copies is no guarantee of privacy: it bounds the share of copies among images like these, and says "
    "nothing of what else may be inferred, such as who was in the training set.",
)
BASELINES = {"pca_gaussian": "draws from the PCA Gaussian", "untrained_network": "images of the untrained network"}
FINDABLE = ("exact", "shifted", "mirrored", "noisy")


def symmetries_of(channels: list[str]) -> int:
    """How many symmetries of the square are searched: all 8 of colour images (tissue has no up), else 2."""
    return 8 if channels == COLOUR else 2


def held_out_set(store: Store) -> ImageSet:
    """Images of patients whom the model was not trained on: the val and test splits, or ``HELD_OUT`` of them."""
    positions = np.sort(np.concatenate([store.indices("val"), store.indices("test")]))
    return real_set(store, evenly(positions, HELD_OUT))


def share(count: int, of: int) -> dict[str, Any]:
    """``count`` of ``of`` as a share with its Clopper-Pearson interval."""
    interval = binomtest(count, of).proportion_ci(method="exact")
    return {"count": count, "of": of, "share": rounded(count / of), "interval": [rounded(end) for end in interval]}


def rates(matches: Matches, train: ImageSet) -> dict[str, Any]:
    """The share of images that are copies, of how many training patients, and how alike to training images all are."""
    copied = np.unique(train.groups[matches.sources[matches.copies]])
    patients = np.unique(train.groups)
    return {
        "copies": share(int(matches.copies.sum()), len(matches.copies)),
        "by_correlation": int(matches.by_pixels.sum()),
        "by_similarity": int(matches.by_embedding.sum()),
        "training_patients": {
            "copied": len(copied),
            "of": len(patients),
            "share": rounded(len(copied) / len(patients)),
        },
        "correlation": _quantiles(matches.correlation),
        "similarity": _quantiles(matches.similarity),
    }


def _quantiles(values: np.ndarray) -> dict[str, float]:
    # Single precision: digits that follow depend on the machine.
    return {f"{q:.0%}": round(float(np.quantile(values, q)), 4) for q in QUANTILES}


def alarmed(matches: Matches, held_out: ImageSet) -> dict[str, Any]:
    """Of how many held-out patients at least one image is called a copy."""
    return share(len(np.unique(held_out.groups[matches.copies])), len(np.unique(held_out.groups)))


def detected(planted: Planted, matches: Matches, train: ImageSet) -> dict[str, Any]:
    """How many planted copies of each kind were called so, and of an image of the right patient."""
    right = matches.copies & (train.groups[matches.sources] == train.groups[planted.sources])
    return {
        kind: share(int(right[planted.kinds == kind].sum()), int((planted.kinds == kind).sum())) | {"meaning": meaning}
        for kind, meaning in KINDS.items()
    }


def nearer_share(estimate: Estimate) -> dict[str, Any]:
    """The share and its interval, which is cut where there are no shares."""
    found = estimate.as_json()
    return found | {"interval": [min(max(end, 0.0), 1.0) for end in found["interval"]]}


def verdicts(found: dict[str, Any], planted: dict[str, Any], nearer: dict[str, Any], false_alarms: float) -> list[str]:
    """Plain sentences: how many copies, whether false alarms explain them, what planted copies show, what is unseen."""
    samples, held_out = (found[name]["copies"] for name in ("samples", "held_out"))
    patients = found["samples"]["training_patients"]
    table = [[each["count"], each["of"] - each["count"]] for each in (samples, held_out)]
    more = fisher_exact(table, alternative="greater").pvalue < 0.05
    missed = [kind for kind in FINDABLE if planted[kind]["share"] < 1]
    sentences = [
        f"{_counted(samples, 'synthetic images')} are called copies, of {patients['copied']:,} of {patients['of']:,} "
        f"training patients: {'more than' if more else 'no more than'} false alarms explain.",
        f"{_counted(held_out, 'held-out images')}, which cannot be copies, are called copies by thresholds that other "
        f"patients set; {false_alarms:.1%} was asked for.",
        *(f"{_counted(found[name]['copies'], words)} are called copies." for name, words in BASELINES.items()),
        *(f"{_counted(each, f'{kind} planted copies')} are found." for kind, each in planted.items()),
    ]
    if missed:
        sentences.append(
            f"Planted copies that it should find are missed ({', '.join(missed)}): on these images, to find few copies "
            "says little."
        )
    return [*sentences, _nearer(nearer), *LIMITS]


def _counted(counted: dict[str, Any], what: str) -> str:
    low, high = counted["interval"]
    return f"{counted['count']:,} of {counted['of']:,} {what} ({counted['share']:.1%}; {low:.1%} to {high:.1%})"


def _nearer(nearer: dict[str, Any]) -> str:
    low, high = nearer["samples_minus_held_out"]["interval"]
    answer = "more than" if low > 0 else "less than" if high < 0 else "not told apart from"
    value, ends = nearer["samples"]["value"], nearer["samples"]["interval"]
    return (
        f"{value:.1%} of the synthetic images ({ends[0]:.1%} to {ends[1]:.1%}) are nearer to a training image than to "
        f"any of as many held-out ones: {answer} the {nearer['held_out']['value']:.1%} of other held-out patients' "
        f"images. Of the PCA Gaussian's draws it is {nearer['pca_gaussian']['value']:.1%}: what is drawn to training "
        "images need not be a copy of one."
    )


def work(job: stage.Job) -> None:
    """Search, plant copies, and write the figures and the picture."""
    store, settings = open_store(job.inputs["pixels"]), job.settings
    sets = {name: images for name, images in open_sets(store, job.inputs).items() if name != "floor"}
    synthetic = {name: sets[name] for name in SYNTHETIC}
    train, held_out = split_set(store, "train"), held_out_set(store)
    channels, seed = store.manifest["channels"], settings.evaluate.seed
    symmetries = symmetries_of(channels)
    probe = ProbeExtractor(job.inputs["weights"], len(channels))
    audit = Audit.fitted(train, held_out, probe.features, settings.memorization.false_alarms, symmetries)
    matches = {name: audit.search(images.array) for name, images in synthetic.items()}
    planted = plant(train, held_out, symmetries, seed)
    of_planted = audit.search(planted.pixels)
    galleries, shares = nearer_to_training(synthetic, train, held_out, settings.evaluate.bootstrap, seed)

    found = {name: rates(each, train) for name, each in matches.items()}
    found["held_out"] = rates(audit.held_out, train) | {"patients": alarmed(audit.held_out, held_out)}
    controls = detected(planted, of_planted, train)
    nearer = {name: nearer_share(each) for name, each in shares.items()}
    nearer["samples_minus_held_out"] = (shares["samples"] - shares["held_out"]).as_json()
    top = header(store.manifest, {name: len(images) for name, images in sets.items()}, settings.evaluate)
    result = {
        "metric": "share of the images that are copies of training images",
        **top,
        "interval": top["interval"] | {"method": INTERVAL},
        "search": {
            "training_images": len(train),
            "symmetries": symmetries,
            "largest_shift_in_pixels": MARGIN * store.pixels.shape[-1] // GRID,
            "detectors": DETECTORS,
            "probe_sha256": probe.weights_sha256,
            "rule": RULE,
            "thresholds": {
                "correlation": round(audit.thresholds.correlation, 4),
                "similarity": round(audit.thresholds.similarity, 4),
                "false_alarms": settings.memorization.false_alarms,
                "set_by": SET_BY,
                "held_out_images": len(held_out),
            },
        },
        "found": found,
        "planted": {"found": FOUND, **controls},
        "nearer_to_training": {"meaning": NEARER, "images_in_each_gallery": galleries, **nearer},
        "verdicts": verdicts(found, controls, nearer, settings.memorization.false_alarms),
    }
    write_json(job.outputs["report"], result)
    drawing = pairs.draw(synthetic["samples"].array, matches["samples"], planted, of_planted, train, channels)
    with atomic(job.outputs["pairs"]) as partial:
        drawing.save(partial, format="PNG")
    job.facts |= {"seed": seed, "copies": int(matches["samples"].copies.sum())}


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    inputs = ("pixels", "table", "manifest", *INPUTS, "weights")
    stage.run("evaluate.memorization", work, inputs=inputs, outputs=("report", "pairs"), argv=argv)


if __name__ == "__main__":
    main()

"""What every result file says about the data and the numbers of images behind it."""

from typing import Any

from scansynth.evaluate.bootstrap import METHOD
from scansynth.evaluate.featureset import FeatureSet
from scansynth.evaluate.imagesets import REFERENCE, SETS
from scansynth.sections import Evaluate
from scansynth.store import whose

# What the samples are compared with, and in words.
WORDS = {
    "floor": "real training images (the floor)",
    "pca_gaussian": "the PCA Gaussian",
    "untrained_network": "the untrained network",
}
OTHERS = tuple(WORDS)


def header(manifest: dict[str, Any], counts: dict[str, int], settings: Evaluate) -> dict[str, Any]:
    """Data set, sets of images with their counts, the flag for few images, and kind of interval.

    ``counts`` has the images of each set, by the names of ``SETS`` and ``reference``; few is below ``settings.small``.
    """
    least = min(counts["reference"], counts.get("samples", counts["reference"]))
    meanings = {"reference": REFERENCE, **SETS}
    return {
        "dataset": whose(manifest),
        "sets": {name: {"images": count, "meaning": meanings[name]} for name, count in counts.items()},
        "small": least < settings.small,
        "small_note": (
            f"{least} images are fewer than {settings.small}: the values depend on that number. Compare them with "
            "those beside them, which have the same bias, and not with other publications."
            if least < settings.small
            else f"{least} images: at least {settings.small}."
        ),
        "interval": {"level": 0.95, "method": METHOD, "replicates": settings.bootstrap, "seed": settings.seed},
    }


def describe(feature_set: FeatureSet) -> dict[str, Any]:
    """Which feature space it is: name, version, hash of its weights, dimensions, and what a reader has to know."""
    about = feature_set.about
    return {
        "name": about.name,
        "version": about.version,
        "weights_sha256": about.weights_sha256,
        "published_inception": about.published_inception,
        "features": feature_set.dimensions,
        "classes": len(about.classes),
        "dtype": feature_set.dtype,
        "notes": about.notes,
    }

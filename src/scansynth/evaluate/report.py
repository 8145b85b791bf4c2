"""What every result file says about the data and the numbers of images behind it."""

from typing import Any

from scansynth.evaluate.bootstrap import METHOD
from scansynth.evaluate.featureset import REFERENCE, SETS, FeatureSet


def header(manifest: dict[str, Any], feature_set: FeatureSet, small: int, replicates: int, seed: int) -> dict[str, Any]:
    """Data set, sets of images with their counts, the flag for fewer images than ``small``, and kind of interval."""
    counts = feature_set.counts
    least = min(counts["reference"], counts["samples"])
    phantom = manifest["origin"] == "phantom"
    meanings = {"reference": REFERENCE, **SETS}
    return {
        "dataset": {
            "title": manifest["dataset"],
            "phantom": phantom,
            "note": "Computed phantoms, not patients." if phantom else "Scans that the user supplied.",
        },
        "sets": {name: {"images": count, "meaning": meanings[name]} for name, count in counts.items()},
        "small": least < small,
        "small_note": (
            f"{least} images are fewer than {small}: the values depend on that number. Compare them with those beside "
            "them, which have the same bias, and not with other publications."
            if least < small
            else f"{least} images: at least {small}."
        ),
        "interval": {"level": 0.95, "method": METHOD, "replicates": replicates, "seed": seed},
    }


def describe(feature_set: FeatureSet) -> dict[str, Any]:
    """Which feature space it is: name, version, hash of its weights, dimensions."""
    about = feature_set.about
    return {
        "name": about.name,
        "version": about.version,
        "weights_sha256": about.weights_sha256,
        "features": feature_set.features["reference"].shape[1],
        "classes": len(about.classes),
        "dtype": "float64",
        "notes": about.notes,
    }

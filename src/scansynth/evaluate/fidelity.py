"""Label fidelity: does a synthetic image show what it was asked to, by a reader that has seen real images alone?"""

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import roc_auc_score

from scansynth.conditions import labelled
from scansynth.evaluate.bootstrap import Estimate, multiplicities
from scansynth.evaluate.imagesets import ImageSet

if TYPE_CHECKING:
    from scansynth.evaluate.reader import Reader

LEAST = 5  # images that show a class, and that do not, for an area under its curve
NOTHING: dict[str, Any] = {"value": None, "interval": None}


def aurocs(probabilities: np.ndarray, rows: list[dict[str, str]], reader: "Reader") -> dict[str, float]:
    """Area under the ROC curve of each class that at least 5 of the images show, and 5 do not.

    ``probabilities`` are the reader's, (n, findings + views); ``rows`` say what the images show, or were asked to.
    """
    found = {}
    for i, (name, shown) in enumerate(truth(rows, reader).items()):
        area = _areas(probabilities[:, i], shown, np.empty((0, len(rows))))[0]
        if np.isfinite(area):
            found[name] = float(area)
    return found


def view_accuracy(probabilities: np.ndarray, rows: list[dict[str, str]], reader: "Reader") -> float | None:
    """Share of the images whose view is read as it was asked for; None where views are not told apart."""
    right = _views_right(probabilities, rows, reader)
    return None if right is None else float(np.nanmean(right))


def truth(rows: list[dict[str, str]], reader: "Reader") -> dict[str, np.ndarray]:
    """1 where an image shows a class, 0 where not, NaN where nobody knows: float64 (n,) by the class's name."""
    known, seen = [labelled(row, reader.about.no_finding) for row in rows], [bool(row["view"]) for row in rows]
    shown = {name: [name in row["findings"].split("|") for row in rows] for name in reader.findings}
    views = {name: [row["view"] == name for row in rows] for name in reader.views}
    found = {name: np.where(known, each, np.nan) for name, each in shown.items()}
    return found | {name: np.where(seen, each, np.nan) for name, each in views.items()}


def label_fidelity(sets: dict[str, ImageSet], reader: "Reader", replicates: int, seed: int) -> dict[str, Any]:
    """How well the reader reads each set, by set: of each class the area under its ROC curve, and the views.

    Beside ``value`` and ``interval`` stand the numbers of images that show the class and that do not; where a class has
    too few, both are null, and ``reason`` says so. The mean is over the classes that have enough.
    """
    found = {}
    for name, images in sets.items():
        probabilities = np.concatenate([reader.probabilities(batch) for batch in images.batches()])
        drawn = multiplicities(np.random.default_rng(seed), images.groups, replicates)
        shown = truth(images.rows, reader)
        areas = np.array([_areas(probabilities[:, i], each, drawn) for i, each in enumerate(shown.values())])
        taken = [row for row in areas if np.isfinite(row[0])]
        mean = _share(np.mean(taken, 0)) if taken else NOTHING
        found[name] = {
            "classes": {label: _described(row, shown[label]) for label, row in zip(shown, areas, strict=True)},
            "mean_auroc": mean["value"],
            "mean_auroc_interval": mean["interval"],
            "view_accuracy": _accuracy(_views_right(probabilities, images.rows, reader), drawn),
        }
    return found


def _areas(scores: np.ndarray, shown: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """The area of all images, then that of each replicate: (1 + replicates,), NaN where too few show the class."""
    known = np.isfinite(shown)
    shown, scores, drawn = shown[known] == 1, scores[known], drawn[:, known]
    if not LEAST <= shown.sum() <= len(shown) - LEAST:
        return np.full(1 + len(drawn), np.nan)
    counts = np.vstack([np.ones(len(scores)), drawn])
    # A replicate without any of either is none.
    return np.array(
        [
            roc_auc_score(shown, scores, sample_weight=times) if times[shown].any() and times[~shown].any() else np.nan
            for times in counts
        ]
    )


def _described(areas: np.ndarray, shown: np.ndarray) -> dict[str, Any]:
    reason = f"fewer than {LEAST} images show it, or do not" if np.isnan(areas[0]) else None
    return {**_share(areas), "reason": reason, "positive": int((shown == 1).sum()), "negative": int((shown == 0).sum())}


def _share(values: np.ndarray) -> dict[str, Any]:
    """A value between 0 and 1 and its interval, of the value followed by its replicates."""
    if np.isnan(values[0]):
        return NOTHING
    estimate = Estimate(float(values[0]), values[1:][np.isfinite(values[1:])]).as_json()
    return {**estimate, "interval": np.clip(estimate["interval"], 0, 1).tolist()}


def _views_right(probabilities: np.ndarray, rows: list[dict[str, str]], reader: "Reader") -> np.ndarray | None:
    """1 where the view is read as asked for, else 0, NaN where none was; None where there is nothing to tell."""
    if not reader.views or not any(row["view"] for row in rows):
        return None
    read = probabilities[:, len(reader.findings) :].argmax(1)
    right = [row["view"] == reader.views[i] if row["view"] else np.nan for row, i in zip(rows, read, strict=True)]
    return np.array(right, dtype=np.float64)


def _accuracy(right: np.ndarray | None, drawn: np.ndarray) -> dict[str, Any] | None:
    if right is None:
        return None
    known = np.isfinite(right)
    times = drawn[:, known]
    times = times[times.any(1)]
    return _share(np.array([right[known].mean(), *(times @ right[known] / times.sum(1))]))

"""Label fidelity: does a synthetic image show what it was asked to, by a reader that has seen real images alone?"""

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import roc_auc_score

from scansynth.evaluate.bootstrap import Estimate, multiplicities, rounded
from scansynth.evaluate.imagesets import ImageSet

if TYPE_CHECKING:
    from scansynth.evaluate.reader import Reader

LEAST = 5  # images that show a class, and that do not, for an area under its curve


def aurocs(probabilities: np.ndarray, rows: list[dict[str, str]], reader: "Reader") -> dict[str, float]:
    """Area under the ROC curve of each class that at least 5 of the images show, and 5 do not.

    ``probabilities`` are the reader's, (n, findings + views); ``rows`` say what the images show, or were asked to.
    """
    found = {}
    for name, shown in truth(rows, reader).items():
        if LEAST <= shown.sum() <= len(shown) - LEAST:
            found[name] = float(roc_auc_score(shown, probabilities[:, _classes(reader).index(name)]))
    return found


def view_accuracy(probabilities: np.ndarray, rows: list[dict[str, str]], reader: "Reader") -> float | None:
    """Share of the images whose view is read as it was asked for; None where views are not told apart."""
    right = _views_right(probabilities, rows, reader)
    return None if right is None else float(np.nanmean(right))


def truth(rows: list[dict[str, str]], reader: "Reader") -> dict[str, np.ndarray]:
    """Whether each image shows each class: bool (n,) by the class's name."""
    findings = {name: np.array([name in row["findings"].split("|") for row in rows]) for name in reader.findings}
    return findings | {name: np.array([row["view"] == name for row in rows]) for name in reader.views}


def label_fidelity(sets: dict[str, ImageSet], reader: "Reader", replicates: int, seed: int) -> dict[str, Any]:
    """How well the reader reads each set, by set: of each class the area under its ROC curve, and the views.

    Beside ``value`` and ``interval`` stand the numbers of images that show the class and that do not; where a class has
    too few, both are null, and ``reason`` says so.
    """
    found = {}
    for name, images in sets.items():
        probabilities = np.concatenate([reader.probabilities(batch) for batch in images.batches()])
        drawn = multiplicities(np.random.default_rng(seed), images.groups, replicates)
        classes = {
            label: _area(probabilities[:, i], shown, drawn)
            for i, (label, shown) in enumerate(truth(images.rows, reader).items())
        }
        values = [area["value"] for area in classes.values() if area["value"] is not None]
        found[name] = {
            "classes": classes,
            "mean_auroc": rounded(float(np.mean(values))) if values else None,
            "view_accuracy": _accuracy(_views_right(probabilities, images.rows, reader), drawn),
        }
    return found


def _classes(reader: "Reader") -> list[str]:
    return [*reader.findings, *reader.views]


def _area(scores: np.ndarray, shown: np.ndarray, drawn: np.ndarray) -> dict[str, Any]:
    numbers = {"positive": int(shown.sum()), "negative": int((~shown).sum())}
    if min(numbers.values()) < LEAST:
        reason = f"fewer than {LEAST} images show it, or do not"
        return {"value": None, "interval": None, "reason": reason, **numbers}
    # A replicate without any of either is none.
    usable = [times for times in drawn if times[shown].any() and times[~shown].any()]
    areas = np.array([roc_auc_score(shown, scores, sample_weight=times) for times in usable])
    estimate = Estimate(float(roc_auc_score(shown, scores)), areas).as_json()
    estimate["interval"] = np.clip(estimate["interval"], 0, 1).tolist()
    return {**estimate, "reason": None, **numbers}


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
    estimate = Estimate(float(right[known].mean()), times @ right[known] / times.sum(1)).as_json()
    return {**estimate, "interval": np.clip(estimate["interval"], 0, 1).tolist()}

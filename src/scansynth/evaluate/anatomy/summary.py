"""How a measure of single images is distributed in each set, and how far from the reference."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import wasserstein_distance

from scansynth.evaluate.bootstrap import Estimate, rounded

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
LEAST = 5  # images that a measure is summarised of
DISTANCE = (
    "1-D Wasserstein distance from the reference, in standard deviations of the measure in the reference: how far, on "
    "average, the measure has to move for the two distributions to be one"
)


def summarised(values: np.ndarray) -> dict[str, Any]:
    """Number of images measured and not (NaN), mean, deviation and quantiles: null where too few are measured."""
    taken = values[np.isfinite(values)]
    found: dict[str, Any] = {"measured": len(taken), "not_measured": len(values) - len(taken)}
    if len(taken) < LEAST:
        return found | {"mean": None, "deviation": None, "quantiles": None}
    return found | {
        "mean": rounded(taken.mean()),
        "deviation": rounded(taken.std(ddof=1)),
        "quantiles": {
            f"{q:g}": rounded(value) for q, value in zip(QUANTILES, np.quantile(taken, QUANTILES), strict=True)
        },
    }


def distance(reference: np.ndarray, others: np.ndarray, drawn: tuple[np.ndarray, np.ndarray]) -> Estimate | None:
    """The distance ``DISTANCE`` of ``others`` (m,) from the ``reference`` (n,), NaN left out.

    ``drawn`` has (replicates, n) and (replicates, m), how often each image counts. None where fewer than 5 images of
    either are measured, or the measure does not vary in the reference.
    """
    kept, other_kept = np.isfinite(reference), np.isfinite(others)
    first, second = reference[kept], others[other_kept]
    if min(len(first), len(second)) < LEAST or first.std() <= 1e-12 * max(abs(first.mean()), 1):
        return None
    scale = first.std(ddof=1)
    replicates = [
        wasserstein_distance(first, second, times[kept], other_times[other_kept])
        for times, other_times in zip(*drawn, strict=True)
        if times[kept].any() and other_times[other_kept].any()
    ]
    return Estimate(float(wasserstein_distance(first, second) / scale), np.array(replicates) / scale)


def compared(measured: Mapping[str, np.ndarray], drawn: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """One measure by set: summaries, distances from ``reference``, and the samples' less the floor's."""
    found: dict[str, Any] = {name: summarised(values) for name, values in measured.items()}
    distances = {
        name: distance(measured["reference"], values, (drawn["reference"], drawn[name]))
        for name, values in measured.items()
        if name != "reference"
    }
    for name, estimate in distances.items():
        found[name]["distance"] = estimate.as_json() if estimate else None
    samples, floor = distances["samples"], distances["floor"]
    both = samples and floor and len(samples.replicates) == len(floor.replicates)
    found["samples_minus_floor"] = (samples - floor).as_json() if both else None
    return found


def contrast(values: np.ndarray, shown: np.ndarray, drawn: np.ndarray) -> dict[str, Any]:
    """Mean of a measure (n,) in images that show a finding less that in the others, with its interval; null if too few.

    ``shown`` is bool (n,), ``drawn`` (replicates, n).
    """
    measured = np.isfinite(values)
    groups = [measured & shown, measured & ~shown]
    found: dict[str, Any] = {"with": int(groups[0].sum()), "without": int(groups[1].sum())}
    if min(found.values()) < LEAST:
        return found | {"value": None, "interval": None}
    times = np.vstack([np.ones(len(values)), drawn])
    with np.errstate(invalid="ignore"):
        means = [times[:, group] @ values[group] / times[:, group].sum(1) for group in groups]
    differences = means[0] - means[1]
    replicates = differences[1:][np.isfinite(differences[1:])]
    return found | Estimate(float(differences[0]), replicates).as_json()

"""Do synthetic images help a classifier? What all arms say of the same test patients, held against each other."""

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scansynth import stage
from scansynth.downstream import report
from scansynth.downstream.statistics import METRICS, Measured, holm, measured
from scansynth.downstream.task import Row, Task
from scansynth.errors import ScansynthError
from scansynth.evaluate.bootstrap import multiplicities, rounded
from scansynth.files import read_json, write_json
from scansynth.sections import Augmentation as Options
from scansynth.store import read_table, whose, write_table

BASELINES = ("classical", "real")
METHOD = (
    "value: mean over seeds of the mean over classes. Its variance is that over resampled test patients (all their "
    "images at once), the same ones for all arms, plus that of the seeds' mean; intervals and p by Student's t with "
    "Satterthwaite's degrees of freedom. Differences are taken pair by pair: patient by patient, seed by seed. Each "
    "fraction has one generator: what another training of it would give is not in the interval"
)


@dataclass(frozen=True)
class Prediction:
    """What one classifier says."""

    about: dict[str, Any]
    test: np.ndarray  # probabilities, (images, classes)
    test_ids: list[str]


def load(path: Path) -> Prediction:
    """Read what ``downstream.arm`` wrote."""
    with np.load(path, allow_pickle=False) as file:
        return Prediction(json.loads(str(file["about"])), file["test"].astype(np.float64), file["test_ids"].tolist())


Metrics = dict[str, list[Measured]]  # each of METRICS, of each class that can be measured


def at_fraction(
    arms: dict[str, list[Prediction]], table: dict[str, Row], task: Task, options: Options
) -> tuple[dict[str, Any], dict[str, Metrics]]:
    """The figures of all arms at one fraction, for the report and for ``compare``.

    Raises:
        ScansynthError: if the arms were asked about different images.
    """
    ids = arms["real"][0].test_ids
    for arm, predictions in arms.items():
        if any(prediction.test_ids != ids for prediction in predictions):
            raise ScansynthError(f"--arms: {arm} was asked about other test images than real: make the arms anew")
    rows, shown = [table[i] for i in ids], task.truth([table[i] for i in ids])
    groups = np.unique([row["patient"] for row in rows], return_inverse=True)[1]
    classes = {
        name: _counted(column, groups, options.least) for name, column in zip(task.classes, shown.T, strict=True)
    }
    usable = [i for i, name in enumerate(task.classes) if classes[name]["reason"] is None]
    weights = multiplicities(np.random.default_rng(options.seed), groups, options.bootstrap)
    found = {arm: _measured(predictions, shown, usable, weights) for arm, predictions in arms.items()}
    return {
        "training_patients": arms["real"][0].about["patients"],
        "training_images": arms["real"][0].about["real"],
        "training_images_shown": arms["real"][0].about["shown"],
        "test_patients": len(np.unique(groups)),
        "test_images": len(rows),
        "classes": classes,
        "arms": {arm: _as_json(arms[arm], found[arm], task, usable) for arm in arms},
    }, found


def compare(fractions: dict[str, dict[str, Any]], found: dict[str, dict[str, Metrics]], relevant: float) -> None:
    """Write into ``fractions`` what each arm is beside ``classical`` and ``real``, by all metrics ``found``.

    p is corrected for all arms at all fractions that are held against the same one: the conclusion is of them all.
    """
    for baseline, no_others in {"classical": BASELINES, "real": ("real",)}.items():
        differences = {
            (fraction, arm): Measured.mean(arms[arm]["auroc"]) - Measured.mean(arms[baseline]["auroc"])
            for fraction, arms in found.items()
            for arm in arms
            if arm not in no_others and arms[baseline]["auroc"]
        }
        corrected = holm([difference.p for difference in differences.values()])
        for ((fraction, arm), difference), p in zip(differences.items(), corrected, strict=True):
            fractions[fraction]["arms"][arm]["beside"][baseline] = {
                "difference": rounded(difference.value),
                "interval": [rounded(end) for end in difference.interval],
                "seeds": [rounded(float(value)) for value in difference.seeds],
                "p": rounded(difference.p),
                "p_holm": rounded(p),
                "detectable": rounded(difference.detectable(len(differences))),
                "verdict": report.verdict(difference.value, difference.interval, p, relevant),
            }


def _counted(shown: np.ndarray, groups: np.ndarray, least: int) -> dict[str, Any]:
    """Test patients and images of a class, and why it has no figures, if so."""
    numbers = {"patients": len(np.unique(groups[shown])), "patients_without": len(np.unique(groups[~shown]))}
    few = min(numbers.values()) < least
    reason = f"fewer than {least} test patients have an image that shows it, or one that does not" if few else None
    return {"images": int(shown.sum()), **numbers, "reason": reason}


def _measured(predictions: list[Prediction], shown: np.ndarray, usable: list[int], weights: np.ndarray) -> Metrics:
    probabilities = np.stack([prediction.test for prediction in predictions])
    return {
        metric: [measured(metric, probabilities[..., i], shown[:, i], weights) for i in usable] for metric in METRICS
    }


def _as_json(predictions: list[Prediction], found: Metrics, task: Task, usable: list[int]) -> dict:
    names = [task.classes[i] for i in usable]
    abouts = [prediction.about for prediction in predictions]
    return {
        "real_images": abouts[0]["real"],
        "synthetic_images": abouts[0]["synthetic"],
        "chosen_steps": [about["chosen"] for about in abouts],
        **{metric: _value(Measured.mean(parts)) if parts else None for metric, parts in found.items()},
        "classes": {
            name: {metric: _value(parts[i]) for metric, parts in found.items()} for i, name in enumerate(names)
        },
        "beside": {},
    }


def _value(of: Measured) -> dict[str, Any]:
    interval = np.clip(of.interval, 0, 1)
    return {
        "value": rounded(of.value),
        "interval": [rounded(float(end)) for end in interval],
        "seeds": [rounded(float(value)) for value in of.seeds],
        "seeds_sd": rounded(float(of.seeds.std(ddof=1))),
    }


def work(job: stage.Job) -> None:
    """Hold all arms against each other; write the result, its table and its plot."""
    manifest, options = read_json(job.inputs["manifest"]), job.settings.augmentation
    table = {row["id"]: row for row in read_table(job.inputs["table"])}
    told: dict[float, dict[str, list[Prediction]]] = defaultdict(lambda: defaultdict(list))
    for prediction in sorted(map(load, job.lists["arms"]), key=lambda one: one.about["seed"]):
        told[prediction.about["fraction"]][prediction.about["arm"]].append(prediction)
    fractions, found = {}, {}
    for fraction, arms in sorted(told.items()):
        if missing := [arm for arm in BASELINES if arm not in arms]:
            raise ScansynthError(f"--arms has no {' and no '.join(missing)} at fraction {fraction:g}")
        task = Task(tuple(arms["real"][0].about["classes"]), job.settings.task, manifest["no_finding"])
        key = f"{fraction:g}"
        fractions[key], found[key] = at_fraction(arms, table, task, options)
    compare(fractions, found, options.relevant)
    about = whose(manifest)
    result = {
        "question": "do synthetic images help a classifier of real ones?",
        "conclusion": report.conclusion(fractions, options.relevant, about["phantom"]),
        "dataset": about,
        "task": job.settings.task.model_dump(mode="json") | {"no_finding": manifest["no_finding"]},
        "budget": job.settings.arm.model_dump(mode="json"),
        "interval": {"level": 0.95, "method": METHOD, "replicates": options.bootstrap, "seed": options.seed},
        "correction": "Holm, over all arms at all fractions that are held against the same one",
        "detectable": "smallest true difference found with 80% power at level 0.05 shared by all of these (Bonferroni)",
        "relevant": options.relevant,
        "fractions": fractions,
    }
    write_json(job.outputs["report"], result)
    write_table(job.outputs["figures"], report.COLUMNS, report.rows(fractions))
    report.draw(job.outputs["plot"], fractions)
    job.facts |= {"predictions": len(job.lists["arms"])}


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    stage.run(
        "downstream.augmentation",
        work,
        inputs=("table", "manifest"),
        lists=("arms",),
        outputs=("report", "figures", "plot"),
        argv=argv,
    )


if __name__ == "__main__":
    main()

"""Quality filters: samples that look like copies, or do not show what they were asked to, are refused.

What passes is a set of its own. The samples stay as they are, and every other figure is measured on them: a filter
changes the distribution, and figures of filtered images would be figures of the filter as much as of the model. One
that refuses misread images raises their label fidelity by construction.
"""

from typing import Any

import numpy as np

from scansynth import stage
from scansynth.conditions import COLUMNS
from scansynth.evaluate import reader as readers
from scansynth.evaluate.copies import Audit
from scansynth.evaluate.extractors import ProbeExtractor
from scansynth.evaluate.fidelity import LEAST, truth
from scansynth.evaluate.imagesets import ImageSet, split_set, synthetic_set
from scansynth.evaluate.memorization import held_out_set, share, symmetries_of
from scansynth.evaluate.reader import Reader
from scansynth.evaluate.report import header
from scansynth.files import write_json
from scansynth.prepare.array import growing
from scansynth.sections import Filters
from scansynth.store import Store, open_store, write_table

MEANINGS = {
    "copies": "more alike to a training image than the threshold that held-out patients set (memorization_<name>.json)",
    "finding": "a finding that was asked for has less than the least probability, by the reader",
    "view": "the reader's most probable view is not the one that was asked for",
}
REAL = {
    "copies": "held-out images, which cannot be copies, by thresholds that other patients set",
    "finding": "images of the test split, by their own labels: as often the reader is wrong about real images",
    "view": "images of the test split, by their own labels: as often the reader is wrong about real images",
}
INTERVAL = "Clopper-Pearson, which takes images for independent"
OTHERS = (
    "All other figures are of all samples, not of those that pass: a filter changes what is measured, and one that "
    "refuses misread images raises their label fidelity by construction."
)


def misread(images: ImageSet, reader: Reader, options: Filters) -> dict[str, np.ndarray]:
    """Which images the reader's filters refuse: bool (n,) by filter. What it does not tell apart refuses none."""
    probabilities = np.concatenate([reader.probabilities(batch) for batch in images.batches()])
    found, seen = np.split(probabilities, [len(reader.findings)], axis=1)
    shown, nobody = truth(images.rows, reader), np.zeros(len(images), dtype=bool)
    refused = {}
    if options.finding > 0:
        low = [(shown[name] == 1) & (found[:, i] < options.finding) for i, name in enumerate(reader.findings)]
        refused["finding"] = np.any([nobody, *low], axis=0)
    if options.view:
        read = seen.argmax(1) if reader.views else nobody
        other = [(shown[name] == 1) & (read != i) for i, name in enumerate(reader.views)]
        refused["view"] = np.any([nobody, *other], axis=0)
    return refused


def copied(images: ImageSet, store: Store, job: stage.Job) -> tuple[np.ndarray, np.ndarray]:
    """Which images are called copies, bool (n,), and which of the held-out ones."""
    channels = store.manifest["channels"]
    probe = ProbeExtractor(job.inputs["weights"], len(channels))
    false_alarms, symmetries = job.settings.memorization.false_alarms, symmetries_of(channels)
    audit = Audit.fitted(split_set(store, "train"), held_out_set(store), probe.features, false_alarms, symmetries)
    return audit.search(images.array).copies, audit.held_out.copies


def by_filter(refused: dict[str, np.ndarray], real: dict[str, np.ndarray], reader: Reader) -> dict[str, Any]:
    """How many of the samples each filter refuses, and how many real images, for which it is wrong."""
    readable = {"copies": True, "finding": reader.findings, "view": reader.views}
    found = {}
    for name, meaning in MEANINGS.items():
        reason = None if readable[name] else f"the training images are all alike in {name}: the reader has learnt none"
        reason = reason if name in refused else f"filters.{name} is off"
        counted = {"refused": refused, "refused_real": real}
        shares = {key: None if reason else share(int(of[name].sum()), len(of[name])) for key, of in counted.items()}
        found[name] = {"meaning": meaning, "on": name in refused, **shares, "real": REAL[name], "reason": reason}
    return found


def by_class(rows: list[dict[str, str]], refused: dict[str, np.ndarray], passed: np.ndarray) -> dict[str, Any]:
    """Of each finding and view that was asked for: how many images, how many each filter refuses, how many pass."""
    shown = [{*filter(None, row["findings"].split("|")), *filter(None, [row["view"]])} for row in rows]
    found = {}
    for label in sorted(set().union(*shown)):
        asked = np.array([label in each for each in shown])
        counts = {name: int((asked & which).sum()) for name, which in refused.items()}
        found[label] = {"asked": int(asked.sum()), **counts, "kept": int((asked & passed).sum())}
    return found


def verdicts(filters: dict[str, Any], kept: dict[str, Any], classes: dict[str, Any]) -> list[str]:
    """Plain sentences: what each filter refused, and how that changes the shares of what is shown."""
    on = {name: each for name, each in filters.items() if each["on"]}
    if not on:
        return ["No filter is on (section filters): all samples pass.", OTHERS]
    sentences = []
    for name, each in on.items():
        if each["reason"]:
            sentences.append(f"The filter {name} refuses none: {each['reason']}.")
            continue
        (a, b), (real, of) = ([each[key][n] for n in ("count", "of")] for key in ("refused", "refused_real"))
        sentences.append(f"The filter {name} refuses {a:,} of {b:,} samples; of real images, {real:,} of {of:,}.")
    low, high = kept["interval"]
    sentences.append(
        f"{kept['count']:,} of {kept['of']:,} samples pass ({kept['share']:.1%}; {low:.1%} to {high:.1%})."
    )
    passing = {label: each["kept"] / each["asked"] for label, each in classes.items() if each["asked"] >= LEAST}
    if passing:
        least, most = min(passing, key=passing.get), max(passing, key=passing.get)
        sentences.append(
            f"From {passing[least]:.0%} ({least}) to {passing[most]:.0%} ({most}) of the images of a class pass: the "
            "filtered set has other shares of them than were asked for."
        )
    return [*sentences, OTHERS]


def write_sets(job: stage.Job, images: ImageSet, refused: dict[str, np.ndarray], passed: np.ndarray) -> None:
    """Write the images that pass, their table, and that of the refused ones with the reasons; ``image``: its number."""
    with growing(job.outputs["filtered"], images.array.shape[1:]) as array:
        for i in np.flatnonzero(passed):
            array.append(images.array[i : i + 1])
    rows = [{"image": i, **{column: row[column] for column in COLUMNS}} for i, row in enumerate(images.rows)]
    write_table(job.outputs["kept"], rows[0], (rows[i] for i in np.flatnonzero(passed)))
    reasons = ["|".join(name for name, which in refused.items() if which[i]) for i in range(len(rows))]
    without = [rows[i] | {"refused_by": reasons[i]} for i in np.flatnonzero(~passed)]
    write_table(job.outputs["refused"], (*rows[0], "refused_by"), without)


def work(job: stage.Job) -> None:
    """Filter the samples, and say how many were refused by what.

    Raises:
        ScansynthError: if files do not belong together, or there are too few images to set the threshold for copies.
    """
    store, settings = open_store(job.inputs["pixels"]), job.settings
    images = synthetic_set(job.inputs["samples"], job.inputs["conditions"], store)
    reference, reader = split_set(store, "test"), readers.load(job.inputs["reader"])
    refused, real = {}, {}
    if settings.filters.copies:
        refused["copies"], real["copies"] = copied(images, store, job)
    refused |= misread(images, reader, settings.filters)
    read = misread(reference, reader, settings.filters)
    real |= read
    passed = ~np.any([np.zeros(len(images), dtype=bool), *refused.values()], axis=0)
    write_sets(job, images, refused, passed)
    filters, classes = by_filter(refused, real, reader), by_class(images.rows, refused, passed)
    kept = share(int(passed.sum()), len(passed))
    top = header(store.manifest, {"reference": len(reference), "samples": len(images)}, settings.evaluate)
    result = {
        "metric": "synthetic images refused by quality filters",
        **top,
        "interval": {"level": 0.95, "method": INTERVAL},
        "settings": settings.filters.model_dump() | settings.memorization.model_dump(),
        "filters": filters,
        "kept": kept,
        "classes": classes,
        "classes_of_real": by_class(reference.rows, read, ~np.any([*read.values(), [False] * len(reference)], axis=0)),
        "verdicts": verdicts(filters, kept, classes),
    }
    write_json(job.outputs["report"], result)
    job.facts |= {"samples": len(images), "kept": int(passed.sum())}


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    inputs = ("pixels", "table", "manifest", "samples", "conditions", "weights", "reader")
    stage.run("evaluate.filters", work, inputs=inputs, outputs=("report", "filtered", "kept", "refused"), argv=argv)


if __name__ == "__main__":
    main()

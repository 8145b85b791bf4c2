"""Does a metric mean anything? Real images are damaged in known ways, to see which metrics move, and how."""

from collections.abc import Iterable

import numpy as np

from scansynth import stage
from scansynth.errors import ScansynthError
from scansynth.evaluate import reader
from scansynth.evaluate.anatomy.domains import MEASURES, domain_of, frontal, measure_of
from scansynth.evaluate.copies import Audit
from scansynth.evaluate.damages import MODES, Images, Sources, applicable
from scansynth.evaluate.extractors import ProbeExtractor, make
from scansynth.evaluate.features import weights_of
from scansynth.evaluate.imagesets import real_set, split_set
from scansynth.evaluate.panel import (
    Panel,
    Seen,
    in_space,
    of_copies,
    of_diversity,
    of_labels,
    of_measures,
    of_texture,
)
from scansynth.evaluate.report import header
from scansynth.evaluate.responses import CRITERION, Response, Study, draw, summary, table
from scansynth.files import write_json, write_text
from scansynth.store import Store, evenly, open_store

SEEDS = 3  # divisions of the held-out images in which images are damaged
DIVISIONS = 20  # divisions that say how far apart undamaged images are
SETS = {
    "reference": "held-out real images, which all others are compared with",
    "damaged": "held-out real images of other patients, which are damaged; undamaged they are the floor",
    "spare": "held-out real images of other patients again, which stand in for those of missing kinds",
    "train": "real training images, which copies are taken from",
}


def held_out(store: Store, most: int) -> np.ndarray:
    """Positions of the images of the val and test splits, evenly spaced among them: three times ``most`` at most."""
    return evenly(np.sort(np.concatenate([store.indices("val"), store.indices("test")])), 3 * most)


def divided(store: Store, most: int, seed: int, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A random division of the held-out images (val and test): reference, those to damage, and spare ones.

    About a third each, since all images of a patient are in one.

    Raises:
        ScansynthError: if that leaves too few in a part.
    """
    pool = held_out(store, most)
    patients = np.array([store.table[i]["patient"] for i in pool])
    order = np.random.default_rng(np.random.SeedSequence((seed, number))).permutation(np.unique(patients))
    places = {patient: place for place, patient in enumerate(order)}
    of_each = np.array([places[patient] for patient in patients])
    # The part of a patient is that of the middle of its images, when the patients' images are laid side by side.
    images = np.bincount(of_each, minlength=len(order))
    part = ((np.cumsum(images) - images / 2) * 3 / len(pool)).astype(np.int64)[of_each]
    parts = tuple(pool[part == i] for i in range(3))
    if min(map(len, parts)) < MODES:
        raise ScansynthError(
            f"{len(pool)} images of {len(order)} patients are held out: a study of damage needs at least {MODES} in "
            "each third of the patients (images.val, images.test, sensitivity.count)"
        )
    return parts


def study(store: Store, panel: Panel, domain: str | None, most: int, seed: int) -> Study:
    """Damage images in every way at every strength, and take every metric of them.

    Raises:
        ScansynthError: if there are too few held-out images.
    """

    def images(indices: np.ndarray) -> Images:
        return Images(store.pixels[indices], [store.table[i] for i in indices])

    read = panel.reader()
    divisions = [divided(store, most, seed, number) for number in range(DIVISIONS)]
    undamaged, spreads = _undamaged(([read(images(part)) for part in parts[:2]] for parts in divisions), panel)
    copied = evenly(store.indices("train"), most)
    train = images(copied)
    metrics = [metric for metric, spread in zip(panel.metrics, spreads, strict=True) if np.isfinite(spread)]
    damages = applicable(images(divisions[0][1]), domain)
    responses = {}
    for damage in damages:
        look = read.branch()
        values = np.empty((SEEDS, len(damage.strengths), len(panel.metrics)))
        values[:, 0] = undamaged[:SEEDS]
        for number, (reference, damaged, spare) in enumerate(divisions[:SEEDS]):
            beside, sources = look(images(reference)), Sources(train, images(spare))
            for k, strength in enumerate(damage.strengths[1:], start=1):
                result = damage(images(damaged), strength, seed + number, sources)
                values[number, k] = panel.values(look(result), beside)
        for i, metric in enumerate(panel.metrics):
            # Where nothing is left to measure a metric has no value; of undamaged images it has one, or is left out.
            taken = np.isfinite(values[..., i]).all(0)
            if metric in metrics and taken[0]:
                strengths = tuple(np.array(damage.strengths)[taken].tolist())
                response = Response(strengths, values[:, taken, i], spreads[i], metric.worse)
                responses[damage.name, metric.name] = response
    counts = {
        name: {"images": len(part), "patients": len({store.table[i]["patient"] for i in part})}
        for name, part in zip(SETS, (*divisions[0], copied), strict=True)
    }
    missing = tuple(metric.name for metric in panel.metrics if metric not in metrics)
    return Study(tuple(metrics), damages, responses, counts, missing)


def _undamaged(divisions: Iterable[list[Seen]], panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """Each metric of undamaged parts beside their references, (divisions, metrics), and its deviation, (metrics,).

    Of a metric of one set, the standard deviation is that of the difference from the reference. It is NaN where a
    metric cannot be had or never changes.
    """
    values, own = [], []
    for reference, seen in divisions:
        values.append(panel.values(seen, reference))
        own.append(panel.values(reference, seen))
    found = np.array(values) - np.where([metric.alone for metric in panel.metrics], own, 0)
    least = [1 / len(seen.images) if metric.share else 0 for metric in panel.metrics]
    spreads = np.maximum(found.std(0, ddof=1), least)
    return np.array(values), np.where(spreads > 1e-9 * np.abs(found).max(0), spreads, np.nan)


def panel_of(job: stage.Job, store: Store) -> Panel:
    """All metrics that there are for the store's images."""
    settings, weights, channels = job.settings, weights_of(job), store.manifest["channels"]
    most, domain = settings.sensitivity.count, domain_of(settings)
    extractors = [make(name, store, weights) for name in settings.extract.extractors]
    probe = ProbeExtractor(weights["probe"], len(channels))
    train, real = split_set(store, "train"), real_set(store, held_out(store, most))
    audit = Audit.fitted(train, real, probe.features, settings.memorization.false_alarms)
    gauges = [
        *(gauge for extractor in extractors for gauge in in_space(extractor)),
        of_diversity(weights["probe"], settings.evaluate.seed),
        of_copies(audit),
        of_labels(reader.load(job.inputs["reader"])),
        of_texture(),
    ]
    measure = measure_of(domain, job.lists["segmenter"])
    if measure:
        chosen = frontal if domain == "chest" else lambda images: np.ones(len(images), bool)
        gauges.append(of_measures(domain, MEASURES[domain], lambda pixels: measure(pixels, channels), chosen))
    return Panel(tuple(gauges))


def work(job: stage.Job) -> None:
    """Study the store's held-out images and write the result, the table and the map."""
    store, settings = open_store(job.inputs["pixels"]), job.settings
    most, seed = settings.sensitivity.count, settings.sensitivity.seed
    found = study(store, panel_of(job, store), domain_of(settings), most, seed)
    result = {
        "metric": "response of each metric to known damage of real images",
        **header(store.manifest, {"reference": found.counts["reference"]["images"]}, settings.evaluate),
        "sets": {name: {**count, "meaning": SETS[name]} for name, count in found.counts.items()},
        "interval": {"method": CRITERION, "damaged_divisions": SEEDS, "undamaged_divisions": DIVISIONS, "seed": seed},
        **summary(found),
    }
    write_json(job.outputs["report"], result)
    write_text(job.outputs["responses"], table(found))
    draw(job.outputs["plot"], found)
    job.facts |= {"counts": found.counts, "damages": len(found.damages), "metrics": len(found.metrics)}


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    stage.run(
        "evaluate.sensitivity",
        work,
        inputs=("pixels", "table", "manifest", "weights", "reader"),
        lists=("inception", "xrv", "segmenter"),
        outputs=("report", "responses", "plot"),
        argv=argv,
    )


if __name__ == "__main__":
    main()

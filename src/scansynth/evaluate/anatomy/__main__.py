"""Is the anatomy right? Measures of what the images show, of texture and grey levels, and of the labels to be read."""

from typing import Any

import numpy as np

from scansynth import stage
from scansynth.evaluate import reader, segmenter
from scansynth.evaluate.anatomy import spectrum
from scansynth.evaluate.anatomy.domains import MEASURES, domain_of, enlarged_hearts, measure_of, measured, of_domain
from scansynth.evaluate.anatomy.figure import draw
from scansynth.evaluate.anatomy.summary import DISTANCE, compared
from scansynth.evaluate.anatomy.words import verdicts
from scansynth.evaluate.bootstrap import multiplicities, rounded
from scansynth.evaluate.fidelity import label_fidelity
from scansynth.evaluate.imagesets import INPUTS, ImageSet, open_sets
from scansynth.evaluate.report import header
from scansynth.files import write_json
from scansynth.store import open_store


def curves(images: ImageSet) -> dict[str, np.ndarray]:
    """Histogram (n, 64) and radial power spectrum (n, size / 2) of each image of a set."""
    batches = [(spectrum.histogram(batch), spectrum.radial_power(batch)) for batch in images.batches()]
    histograms, powers = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return {"histogram": histograms, "power": powers}


def textures(of_sets: dict[str, dict[str, np.ndarray]], drawn: dict[str, np.ndarray]) -> dict[str, Any]:
    """Distances of histograms and spectra by distance and set, and the ratio of the spectra by frequency."""
    found: dict[str, Any] = {"unit": spectrum.UNITS}
    for name, estimates in spectrum.distances(of_sets, drawn).items():
        of_name: dict[str, Any] = {key: estimate.as_json() for key, estimate in estimates.items()}
        found[name] = of_name | {"samples_minus_floor": (estimates["samples"] - estimates["floor"]).as_json()}
    real = of_sets["reference"]["power"].mean(0) + spectrum.TINY
    frequencies = spectrum.frequencies(2 * len(real))
    found["power_ratio"] = {"cycles_per_pixel": [rounded(value) for value in frequencies]} | {
        name: [rounded(value) for value in (each["power"].mean(0) + spectrum.TINY) / real]
        for name, each in of_sets.items()
        if name != "reference"
    }
    return found


def work(job: stage.Job) -> None:
    """Measure all sets, write what was found, and draw it."""
    store, settings = open_store(job.inputs["pixels"]), job.settings
    domain, channels = domain_of(settings), store.manifest["channels"]
    sets = open_sets(store, job.inputs)
    generator = np.random.default_rng(settings.evaluate.seed)
    drawn = {name: multiplicities(generator, each.groups, settings.evaluate.bootstrap) for name, each in sets.items()}
    values = {name: measured(each, channels, spectrum.measure) for name, each in sets.items()}
    measure = measure_of(domain, job.lists["segmenter"])
    if measure:
        for name, each in sets.items():
            values[name] |= of_domain(domain, each, channels, measure)
    of_curves = {name: curves(each) for name, each in sets.items()}
    read = reader.load(job.inputs["reader"])
    result = {
        "metric": "measures of anatomy, of grey levels and texture, and label fidelity",
        **header(store.manifest, {name: len(each) for name, each in sets.items()}, settings.evaluate),
        "domain": domain,
        "unit": MEASURES[domain] | spectrum.MEASURES,
        "distance": DISTANCE,
        "measures": {
            name: compared({key: found[name] for key, found in values.items()}, drawn)
            for name in MEASURES[domain] | spectrum.MEASURES
        },
        "texture": textures(of_curves, drawn),
        "label_fidelity": {
            "reader": {
                "trained_on": "training images",
                "val_aurocs": read.about.val_aurocs,
                "reason": read.about.reason,
            },
            "sets": label_fidelity(sets, read, settings.evaluate.bootstrap, settings.evaluate.seed),
        },
    }
    if domain == "chest":
        result["cardiomegaly"] = enlarged_hearts(sets, values, drawn)
        result["segmenter"] = segmenter.load(job.lists["segmenter"][0]).about
    result["verdicts"] = verdicts(result)
    write_json(job.outputs["report"], result)
    draw(job.outputs["picture"], values, of_curves, list(MEASURES[domain]))
    job.facts |= {"domain": domain, "measures": len(values["samples"])}


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    inputs = ("pixels", "table", "manifest", *INPUTS, "reader")
    lists, outputs = ("segmenter",), ("report", "picture")
    stage.run("evaluate.anatomy", work, inputs=inputs, lists=lists, outputs=outputs, argv=argv)


if __name__ == "__main__":
    main()

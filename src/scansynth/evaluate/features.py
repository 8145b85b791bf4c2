"""Features and class probabilities of the real, the synthetic and the baseline images, in each feature space."""

from pathlib import Path

import numpy as np

from scansynth import stage
from scansynth.errors import ScansynthError
from scansynth.evaluate.extractors import make
from scansynth.evaluate.featureset import About, FeatureSet, write
from scansynth.store import Store, evenly, open_store


def image_sets(store: Store, synthetic: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All the sets: the test split as ``reference``, training images as ``floor``, and the synthetic ones.

    The floor has as many images as the samples have, or all the training images where these are fewer.

    Raises:
        ScansynthError: if a split is too small to have a covariance.
    """
    test = store.indices("test")
    floor = evenly(store.indices("train"), len(synthetic["samples"]))
    for split, positions in (("test", test), ("train", floor)):
        if len(positions) < 2:
            raise ScansynthError(f"the {split} split has {len(positions)} image(s); a distance needs 2 at least")
    return {"reference": store.pixels[test], "floor": store.pixels[floor], **synthetic}


def load_synthetic(path: Path, store: Store) -> np.ndarray:
    """A file of synthetic images, memory-mapped: uint8 of shape (n, channels, size, size), as the store's.

    Raises:
        ScansynthError: if they are not of the store's kind, or fewer than 2.
    """
    pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != store.pixels.shape[1:]:
        raise ScansynthError(
            f"{path}: {pixels.dtype} of shape {pixels.shape}, but the real images are uint8 of shape "
            f"(n, {', '.join(map(str, store.pixels.shape[1:]))}): make it anew"
        )
    if len(pixels) < 2:
        raise ScansynthError(f"{path}: {len(pixels)} image(s); a distance needs 2 at least (sample.count)")
    return pixels


def work(job: stage.Job) -> None:
    """Extract all features of all sets and write them into one file."""
    store = open_store(job.inputs["pixels"])
    synthetic = {
        "samples": load_synthetic(job.inputs["samples"], store),
        "pca_gaussian": load_synthetic(job.inputs["pca"], store),
        "untrained_network": load_synthetic(job.inputs["untrained"], store),
    }
    sets = image_sets(store, synthetic)
    found = []
    for name in job.settings.evaluate.extractors:
        extractor = make(name, store, store.indices("train"), job.inputs["weights"])
        features = {key: extractor.features(pixels) for key, pixels in sets.items()}
        probabilities = {key: extractor.probabilities(values) for key, values in features.items()}
        about = About(name, extractor.version, extractor.weights_sha256, tuple(extractor.classes), extractor.notes)
        found.append(FeatureSet(about, features, probabilities))
    write(job.outputs["features"], found)
    job.facts |= {
        "counts": {key: len(pixels) for key, pixels in sets.items()},
        "features": {each.about.name: each.features["reference"].shape[1] for each in found},
    }


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    inputs = ("pixels", "table", "manifest", "samples", "pca", "untrained", "weights")
    stage.run("evaluate.features", work, inputs=inputs, outputs=("features",), argv=argv)


if __name__ == "__main__":
    main()

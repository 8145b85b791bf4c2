"""Features that are computed once: kept by the digest of all that they depend on, some images at a time."""

import hashlib
from importlib import metadata
from pathlib import Path

import numpy as np

from scansynth import cores, digest
from scansynth.device import best_device
from scansynth.evaluate.extractors import Extractor
from scansynth.evaluate.imagesets import ImageSet
from scansynth.files import atomic

LIBRARIES = ("monai", "numpy", "pillow", "scikit-image", "scipy", "torch")


class FeatureCache:
    """Features of batches of images, as files in a folder that may be deleted at any time.

    A file's name is a digest of the images, of the extractor (its weights, what it was fitted to, its code), and of
    what the last bits depend on (libraries, device, threads): it is never out of date. An extraction that was killed
    goes on where it was.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        versions = {name: metadata.version(name) for name in LIBRARIES}
        self._machine = [versions, best_device().type, cores.granted()]

    def features(self, extractor: Extractor, images: ImageSet) -> np.ndarray:
        """The features of the images in order, (n, d)."""
        return np.concatenate([self._of_batch(extractor, batch) for batch in images.batches()])

    def _of_batch(self, extractor: Extractor, batch: np.ndarray) -> np.ndarray:
        pixels = hashlib.sha256(np.ascontiguousarray(batch)).hexdigest()
        name = digest.of_value([*self._identity(extractor), batch.shape, pixels])
        path = self._folder / extractor.name / f"{name}.npy"
        if path.is_file():
            return np.load(path, allow_pickle=False)
        found = extractor.features(batch)
        with atomic(path) as partial:
            np.save(partial, found, allow_pickle=False)
        return found

    def _identity(self, extractor: Extractor) -> list:
        code = digest.of_code(type(extractor).__module__)
        return [extractor.name, extractor.version, extractor.weights_sha256, extractor.fitted, code, self._machine]

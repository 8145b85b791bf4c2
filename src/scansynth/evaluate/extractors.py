"""Feature extractors: each turns images into features, and features into class probabilities."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from scansynth import digest
from scansynth.errors import ScansynthError
from scansynth.evaluate.classes import JointClasses
from scansynth.evaluate.radiomics import VERSION, radiomics
from scansynth.files import sha256
from scansynth.store import Store, evenly


class Extractor(Protocol):
    """A feature space. Images are uint8 of shape (n, channels, size, size), in the store's own channels."""

    name: str
    version: str
    weights_sha256: str | None  # None for one without weights
    fitted: str  # digest of what it learned from this store's images; empty for one that learned nothing of them
    published_inception: bool  # whether it is the network, with the weights, whose Frechet distance is called FID
    classes: Sequence[str]  # what the probabilities are of; empty where there are none
    notes: str  # what a reader of a distance in this space has to know

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Features of shape (n, d): float32 from a network, float64 otherwise."""
        ...

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Class probabilities of images with these features, float64 of shape (n, classes); rows sum to 1."""
        ...


class ProbeExtractor:
    """The feature layer of the probe, a classifier trained on this data set's training images."""

    name = "probe"
    version = "1"
    fitted = ""
    published_inception = False

    def __init__(self, weights: Path, channels: int) -> None:
        """Load the probe.

        Raises:
            ScansynthError: if it was trained on images with other channels.
        """
        from scansynth.evaluate.classifier import load

        self._model, about = load(weights)
        if about.channels != channels:
            raise ScansynthError(f"{weights}: a probe of {about.channels} channel(s), for images of {channels}")
        self.weights_sha256 = sha256(weights)
        self.classes = about.classes
        accuracy = (
            "" if about.val_accuracy is None else f", with accuracy {about.val_accuracy:.3f} on validation images"
        )
        chance = "" if about.chance is None else f" where always naming the commonest class has {about.chance:.3f}"
        self.notes = (
            f"trained on this data set's training images to tell {about.task} ({len(about.classes)} classes)"
            f"{accuracy}{chance}; images are averaged down to 64 pixels a side at most"
        )

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Activations of the feature layer, float32 of shape (n, d)."""
        return self._model.extract(pixels)

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Softmax of the classifier's head, float64 of shape (n, classes)."""
        return self._model.classify(features)


class RadiomicsExtractor:
    """Standardised image statistics, and a logistic regression of the joint classes on them."""

    name = "radiomics"
    version = VERSION
    weights_sha256 = None
    published_inception = False

    def __init__(self, pixels: np.ndarray, rows: Sequence[dict[str, str]]) -> None:
        """Standardise by, and fit the classes to, these training images (n, channels, size, size) and their rows.

        Statistics that do not vary among them are left out.

        Raises:
            ScansynthError: if none varies.
        """
        from sklearn.linear_model import LogisticRegression

        found = radiomics(pixels)
        self._mean, self._deviation = found.mean(0), found.std(0)
        self._kept = self._deviation > 1e-9 * np.maximum(np.abs(self._mean), 1)
        if not self._kept.any():
            raise ScansynthError(f"{len(pixels)} training images that are all the same: there is nothing to measure by")
        self.fitted = digest.of_value([self._mean.tolist(), self._deviation.tolist()])
        classes = JointClasses.of(rows)
        targets = classes.indices(rows)
        # Without labels there is one class, and nothing to tell.
        self._classifier = None
        self.classes = classes.names
        if len(classes.names) > 1:
            self._classifier = LogisticRegression(C=0.1, max_iter=1000).fit(self._standardised(found), targets)
        self.notes = (
            f"arsinh of each statistic in standard deviations among {len(pixels)} training images; no weights. "
            "Class probabilities: logistic regression on the same images"
        )

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Standardised statistics, float64 of shape (n, d)."""
        return self._standardised(radiomics(pixels))

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Probabilities of the logistic regression, float64 of shape (n, classes)."""
        if self._classifier is None:
            return np.ones((len(features), 1))
        return self._classifier.predict_proba(features)

    def _standardised(self, found: np.ndarray) -> np.ndarray:
        deviations = (found - self._mean)[:, self._kept] / self._deviation[self._kept]
        # Linear near 0, logarithmic beyond: noise that no real image has is a hundred deviations in some statistics,
        # and would leave nothing to see of the others.
        return np.arcsinh(deviations)


FIT_ON = 600  # training images that radiomics are standardised by: enough for means, deviations and a linear model


def make(name: str, store: Store, weights: dict[str, Path]) -> Extractor:
    """The extractor ``name`` for the images of a store; ``weights`` has the files of those networks that are used.

    Radiomics are fitted to 600 training images at most, spaced evenly.
    """
    if name == "inception":
        from scansynth.evaluate.inception import InceptionExtractor

        return InceptionExtractor(weights[name])
    if name == "xrv":
        from scansynth.evaluate.densenet import XrvExtractor

        return XrvExtractor(weights[name])
    if name == "probe":
        return ProbeExtractor(weights[name], store.pixels.shape[1])
    chosen = evenly(store.indices("train"), FIT_ON)
    return RadiomicsExtractor(store.pixels[chosen], [store.table[i] for i in chosen])

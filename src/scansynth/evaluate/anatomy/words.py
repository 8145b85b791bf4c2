"""What the measures say, in plain sentences."""

from statistics import geometric_mean
from typing import Any

from scansynth.evaluate.anatomy.spectrum import HALF_NYQUIST

LIMITS = (
    "Each measure looks at one thing alone, over many images: that the distributions agree does not say that any one "
    "image is right."
)

READABLE = 0.75  # area under the curve of real images below which the reader cannot judge synthetic ones


def verdicts(result: dict[str, Any]) -> list[str]:
    """Sentences on the measures, the texture, the labels and, of chests, the hearts of the result file."""
    sentences = [*_measures(result["measures"]), *_texture(result["texture"]), *labels(result["label_fidelity"])]
    if "cardiomegaly" in result:
        sentences += [*_chests(result["measures"]), hearts(result["cardiomegaly"])]
    return [*sentences, LIMITS]


def _measures(measures: dict[str, Any]) -> list[str]:
    """Which measures of the samples are farther from the reference's than those of real training images are."""
    told: dict[str, list[str]] = {"farther": [], "as near": [], "not to be told": []}
    for name, found in measures.items():
        difference, words = found["samples_minus_floor"], name.replace("_", " ")
        if difference is None:
            told["not to be told"].append(words)
        else:
            told["farther" if difference["interval"][0] > 0 else "as near"].append(words)
    endings = {
        "farther": "farther from the held-out images than those of real training images are",
        "as near": "not told apart, by that distance, from those of real training images",
        "not to be told": "not compared: too few images have them, or they do not vary",
    }
    return [f"Of the samples, {', '.join(names)}: {endings[key]}." for key, names in told.items() if names]


def _texture(texture: dict[str, Any]) -> list[str]:
    deviation, floor = (texture["spectrum_deviation"][name]["value"] for name in ("samples", "floor"))
    sentences = [
        f"Up to half the Nyquist frequency the samples' power spectrum is off by {deviation:.0%} at most "
        f"({floor:.0%} for real training images); the histogram by "
        f"{texture['histogram_distance']['samples']['value']:.3g} grey levels "
        f"({texture['histogram_distance']['floor']['value']:.3g})."
    ]
    return [*sentences, _strength(texture["power_ratio"])] if deviation > floor else sentences


def _strength(ratio: dict[str, list[float]]) -> str:
    """How strong the texture is up to half the Nyquist frequency."""
    both = zip(ratio["cycles_per_pixel"], ratio["samples"], strict=True)
    share = geometric_mean(value for frequency, value in both if frequency <= HALF_NYQUIST)
    return f"The power there is {share:.0%} of the held-out images', as the mean over frequencies."


def labels(fidelity: dict[str, Any]) -> list[str]:
    """How well samples are read, beside real images."""
    if fidelity["reader"]["reason"]:
        return [f"Labels cannot be read: {fidelity['reader']['reason']}."]
    sentences = []
    real, samples = fidelity["sets"]["reference"], fidelity["sets"]["samples"]
    both = {
        name: (found["value"], real["classes"][name]["value"])
        for name, found in samples["classes"].items()
        if found["value"] is not None and real["classes"][name]["value"] is not None
    }
    areas = [f"{name} {value:.2f} (real images {ceiling:.2f})" for name, (value, ceiling) in both.items()]
    if areas:
        sentences.append(
            "How well a classifier of real images reads what samples were asked to show, as areas under ROC curves "
            f"(0.5 is chance): {', '.join(areas)}."
        )
    unread = [name for name, (_, ceiling) in both.items() if ceiling < READABLE]
    if unread:
        sentences.append(f"It hardly reads {', '.join(unread)} in real images, so that of these it cannot judge.")
    if samples["view_accuracy"] and real["view_accuracy"]:
        shares = [each["view_accuracy"]["value"] for each in (samples, real)]
        sentences.append(
            f"The view is read as asked for in {shares[0]:.0%} of the samples ({shares[1]:.0%} of real images)."
        )
    return sentences


def _chests(measures: dict[str, Any]) -> list[str]:
    shares = []
    for name, words in (("plausible", "a plausible chest"), ("heart_on_left", "the heart at the patient's left")):
        means = [measures[name][key]["mean"] for key in ("samples", "reference")]
        if None not in means:
            shares.append(f"{words} in {means[0]:.0%} of the samples ({means[1]:.0%} of held-out images)")
    return [f"Frontal images: {'; '.join(shares)}."] if shares else []


def hearts(found: dict[str, Any]) -> str:
    """Whether hearts are larger where that was asked for."""
    if found["samples"]["value"] is None:
        return (
            "Whether asking for cardiomegaly gives larger hearts is not to be told: too few samples, or none, show it."
        )
    low, high = found["samples"]["interval"]
    real = found["reference"]["value"]
    beside = "" if real is None else f"; in held-out images it is {real:+.3f}"
    answer = "are larger" if low > 0 else "are smaller" if high < 0 else "are not told apart"
    return (
        f"Hearts of samples asked to show cardiomegaly {answer}: their mean cardiothoracic ratio differs from the "
        f"others' by {found['samples']['value']:+.3f} [{low:+.3f}, {high:+.3f}]{beside}."
    )

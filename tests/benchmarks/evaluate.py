"""How fast distances and features are beside torchmetrics and torch-fidelity, and what memory they take.

``python tests/benchmarks/evaluate.py [--features 10000] [--images 1000] [--many 10000] [--peers PYTHON] [--output F]``

torch-fidelity needs an environment of its own (it brings torchvision, and both their builds of torch: 5 GB)::

    python -m venv /tmp/peers && /tmp/peers/bin/pip install torch-fidelity==0.4.0

and ``--peers /tmp/peers/bin/python``; without it torchmetrics alone is measured. All get the same features: two sets of
2048, none negative and many of them correlated, as Inception's are. Each measurement is a process of its own, with its
libraries loaded and its inputs in memory before the clock starts; the packages take turns, and the ratios are of
measurements next to each other. MiB is the peak of its memory, above_inputs_MiB how much that is above the start.

frechet is the distance alone, frechet_interval with its 100 replicates; ours of kernel and of score have 100 replicates
too. The value of kernel is the mean over 100 subsets of 1,000, that of score over 10 parts: each package draws its own.

Writes JSON: seconds, memory and value of each distance and package, with the peers' seconds over ours (median, least
and most); images a second and memory of the extractors, Inception's (with random weights) beside torch-fidelity's.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

WIDTH, CLASSES, SIDE = 2048, 1008, 128
REPLICATES, SUBSETS, SUBSET, NEIGHBOURS = 100, 100, 1000, 3
PARTS = 1000  # images of the same shapes
Work = Callable[[], object]  # what is timed


class Identity(torch.nn.Module):
    """What torchmetrics takes for an extractor."""

    num_features = WIDTH

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values


def loaded(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The features of the real and the synthetic images."""
    return np.load(folder / "real.npy"), np.load(folder / "synthetic.npy")


def resampled(count: int) -> np.ndarray:
    """How often each image counts in each replicate."""
    from scansynth.evaluate.bootstrap import multiplicities

    return multiplicities(np.random.default_rng(0), np.arange(count), REPLICATES)


def both(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Features and draws, as ours takes them."""
    features = dict(zip(("reference", "samples"), loaded(folder), strict=True))
    return features, {name: resampled(len(values)) for name, values in features.items()}


def torchmetrics_of(name: str, folder: Path, **options: int) -> Work:
    """One of torchmetrics' distances."""
    from torchmetrics.image import fid, kid

    real, synthetic = map(torch.from_numpy, loaded(folder))
    metrics = {"fid": fid.FrechetInceptionDistance, "kid": kid.KernelInceptionDistance}

    def work() -> float:
        metric = metrics[name](feature=Identity(), **options)
        metric.update(real, real=True)
        metric.update(synthetic, real=False)
        found = metric.compute()
        return float(found[0] if name == "kid" else found)

    return work


def frechet_scansynth(folder: Path) -> Work:
    from scansynth.evaluate.frechet import Gaussian, frechet_distance

    features = loaded(folder)
    return lambda: frechet_distance(*map(Gaussian.fitted, features))


def frechet_torchmetrics(folder: Path) -> Work:
    return torchmetrics_of("fid", folder)


def frechet_torch_fidelity(folder: Path) -> Work:
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    features = [torch.from_numpy(each) for each in loaded(folder)]
    return lambda: fid_statistics_to_metric(*map(fid_features_to_statistics, features), False).popitem()[1]


def frechet_interval_scansynth(folder: Path) -> Work:
    from scansynth.evaluate.frechet import frechet_estimates

    features, drawn = both(folder)
    return lambda: frechet_estimates(features, drawn)["samples"].value


def kernel_scansynth(folder: Path) -> Work:
    from scansynth.evaluate.kernel import kernel_estimates

    features, drawn = both(folder)
    size = min(SUBSET, len(features["samples"]))
    return lambda: float(kernel_estimates(features, drawn, size, SUBSETS, 0)[1]["samples"].mean())


def kernel_torchmetrics(folder: Path) -> Work:
    return torchmetrics_of("kid", folder, subsets=SUBSETS, subset_size=min(SUBSET, len(loaded(folder)[0])))


def kernel_torch_fidelity(folder: Path) -> Work:
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

    features = [torch.from_numpy(each) for each in loaded(folder)]
    options = {"kid_subsets": SUBSETS, "kid_subset_size": min(SUBSET, len(features[0])), "verbose": False}
    return lambda: kid_features_to_metric(*features, **options)[KEY_METRIC_KID_MEAN]


def precision_scansynth(folder: Path) -> Work:
    from scansynth.evaluate.coverage import prdc

    features = loaded(folder)
    return lambda: prdc(*features, NEIGHBOURS).precision


def precision_torch_fidelity(folder: Path) -> Work:
    from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, prc_features_to_metric

    real, synthetic = (torch.from_numpy(each) for each in loaded(folder))
    options = {"prc_neighborhood": NEIGHBOURS, "verbose": False}
    return lambda: prc_features_to_metric(synthetic, real, **options)[KEY_METRIC_PRECISION]


def score_scansynth(folder: Path) -> Work:
    from scipy.special import softmax

    from scansynth.evaluate.inception_score import inception_score, split_scores

    logits = np.load(folder / "logits.npy")
    drawn = resampled(len(logits))

    def work() -> float:
        probabilities = softmax(logits.astype(np.float64), axis=1)
        inception_score(probabilities, drawn)
        return float(split_scores(probabilities, 0).mean())

    return work


def score_torchmetrics(folder: Path) -> Work:
    from torchmetrics.image.inception import InceptionScore

    logits = torch.from_numpy(np.load(folder / "logits.npy"))

    def work() -> float:
        metric = InceptionScore(feature=Identity())
        metric.update(logits)
        return float(metric.compute()[0])

    return work


def score_torch_fidelity(folder: Path) -> Work:
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric

    logits = torch.from_numpy(np.load(folder / "logits.npy"))
    return lambda: isc_features_to_metric(logits)[KEY_METRIC_ISC_MEAN]


def extraction(folder: Path, extractor: object) -> Work:
    """All images through an extractor of ours, as the stage does it, the cache on disk included."""
    from scansynth.evaluate.feature_cache import FeatureCache
    from scansynth.evaluate.imagesets import ImageSet

    pixels = np.load(folder / "images.npy", mmap_mode="r")
    images = ImageSet(pixels, np.arange(len(pixels)), [], np.arange(len(pixels)))

    def work() -> float:
        with tempfile.TemporaryDirectory(dir=folder) as cache:
            return float(FeatureCache(Path(cache)).features(extractor, images).mean())

    return work


def radiomics_scansynth(folder: Path) -> Work:
    from scansynth.evaluate.extractors import FIT_ON, RadiomicsExtractor

    fit_on = np.load(folder / "images.npy", mmap_mode="r")[:FIT_ON]
    return extraction(folder, RadiomicsExtractor(fit_on, [{"findings": "", "view": ""}] * len(fit_on)))


def probe_scansynth(folder: Path) -> Work:
    from scansynth.evaluate.classifier import About, Classifier, save
    from scansynth.evaluate.extractors import ProbeExtractor

    about = About(1, 64, "labels", ("a", "b"), None, None)
    save(folder / "probe.safetensors", Classifier(about.channels, about.features, len(about.classes)), about)
    return extraction(folder, ProbeExtractor(folder / "probe.safetensors", about.channels))


def inception_scansynth(folder: Path) -> Work:
    from scansynth.evaluate.inception import InceptionExtractor

    return extraction(folder, InceptionExtractor(folder / "inception.pth"))


def inception_torch_fidelity(folder: Path) -> Work:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    weights = {"feature_extractor_weights_path": str(folder / "inception.pth")}
    network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], **weights)
    pixels = np.load(folder / "images.npy", mmap_mode="r")

    def work() -> float:
        with torch.inference_mode():
            batches = (torch.from_numpy(pixels[i : i + 64].repeat(3, axis=1)) for i in range(0, len(pixels), 64))
            return float(torch.cat([network(batch)[0] for batch in batches]).mean())

    return work


DISTANCES: dict[str, dict[str, Callable[[Path], Work]]] = {
    "frechet": {
        "scansynth": frechet_scansynth,
        "torchmetrics": frechet_torchmetrics,
        "torch_fidelity": frechet_torch_fidelity,
    },
    "frechet_interval": {"scansynth": frechet_interval_scansynth},
    "kernel": {
        "scansynth": kernel_scansynth,
        "torchmetrics": kernel_torchmetrics,
        "torch_fidelity": kernel_torch_fidelity,
    },
    "precision": {"scansynth": precision_scansynth, "torch_fidelity": precision_torch_fidelity},
    "score": {
        "scansynth": score_scansynth,
        "torchmetrics": score_torchmetrics,
        "torch_fidelity": score_torch_fidelity,
    },
}
EXTRACTORS: dict[str, dict[str, Callable[[Path], Work]]] = {
    "radiomics": {"scansynth": radiomics_scansynth},
    "probe": {"scansynth": probe_scansynth},
    "inception": {"scansynth": inception_scansynth, "torch_fidelity": inception_torch_fidelity},
}


def make_features(folder: Path, count: int) -> None:
    """Two sets of features that differ a little, and logits."""
    random = np.random.default_rng(0)
    mix = random.normal(size=(200, WIDTH)) / 14
    for name, shift in (("real", 0), ("synthetic", 0.02)):
        values = random.normal(size=(count, 200)) @ mix + random.normal(0, 0.3, (count, WIDTH)) + shift
        np.save(folder / f"{name}.npy", np.maximum(values, 0).astype(np.float32))
    np.save(folder / "logits.npy", random.normal(0, 2, (count, CLASSES)).astype(np.float32))


def make_images(folder: Path, count: int) -> None:
    """Gray images with smooth shapes and noise, no two of them the same."""
    from scipy import ndimage

    random = np.random.default_rng(0)
    shapes = [ndimage.zoom(random.normal(0, 45, (16, 16)), SIDE / 16) for _ in range(min(count, PARTS))]
    pixels = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (count, 1, SIDE, SIDE))
    for i in range(count):
        noisy = 128 + shapes[i % PARTS] + random.normal(0, 6, (SIDE, SIDE))
        pixels[i, 0] = noisy.clip(0, 255)


def make_weights(folder: Path) -> None:
    """Random weights of Inception that keep the scale of what passes through."""
    from scansynth.evaluate.inception import network

    torch.manual_seed(0)
    model = network()
    for each in model.parameters():
        if each.ndim > 1:
            torch.nn.init.kaiming_normal_(each)
    torch.save(model.state_dict(), folder / "inception.pth")


def measure(python: str, task: str, folder: Path, cores: int) -> dict:
    """Seconds, memory and value of a task in a process of its own."""
    import psutil

    environment = os.environ | {"OMP_NUM_THREADS": str(cores)}
    command = [python, __file__, "--task", task, "--folder", str(folder)]
    process = psutil.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    process.stdout.readline()  # it is ready
    before = peak = process.memory_info().rss
    process.stdin.write("go\n")
    process.stdin.flush()
    while process.poll() is None:
        peak = max(peak, process.memory_info().rss)
        time.sleep(0.01)
    assert process.returncode == 0, task
    print(task, file=sys.stderr)
    mib = {"MiB": round(peak / 2**20), "above_inputs_MiB": round((peak - before) / 2**20)}
    return json.loads(process.stdout.read()) | mib


def side_by_side(name: str, pythons: dict[str, str], folder: Path, cores: int, repeats: int) -> dict:
    """The packages that have it, in turns: medians, and how many times longer the peers take."""
    packages = [each for each in pythons if each in (DISTANCES | EXTRACTORS)[name]]
    turns = [
        {each: measure(pythons[each], f"{name}/{each}", folder, cores) for each in packages} for _ in range(repeats)
    ]
    found = {}
    for each in packages:
        seconds = [turn[each]["seconds"] for turn in turns]
        found[each] = turns[-1][each] | {"seconds": round(statistics.median(seconds), 3)}
        if each != "scansynth":
            ratios = [turn[each]["seconds"] / turn["scansynth"]["seconds"] for turn in turns]
            found[each]["seconds_over_ours"] = round(statistics.median(ratios), 2)
            found[each]["spread"] = [round(min(ratios), 2), round(max(ratios), 2)]
    return found


def main() -> None:
    """Run all, print and write the figures; with ``--task``, be one measurement's process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", type=int, default=10_000, help="images of each set for the distances")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--many", type=int, default=10_000)
    parser.add_argument("--inception", type=int, default=256, help="images for Inception, which is slow")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers", help="the Python that has torch-fidelity")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        name, package = options.task.split("/")
        work = (DISTANCES | EXTRACTORS)[name][package](options.folder)
        print("ready", flush=True)
        sys.stdin.readline()
        start = time.perf_counter()
        value = work()
        print(json.dumps({"seconds": time.perf_counter() - start, "value": value}))
        return
    cores = len(os.sched_getaffinity(0))
    pythons = {"scansynth": sys.executable, "torchmetrics": sys.executable}
    if options.peers:
        pythons["torch_fidelity"] = options.peers
    found = {"cores": cores, "features": f"{options.features} against {options.features} images, {WIDTH} features"}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_features(folder, options.features)
        for name in DISTANCES:
            found[name] = side_by_side(name, pythons, folder, cores, options.repeats)
        for count in (options.images, options.many):
            make_images(folder, count)
            for name in ("radiomics", "probe"):
                one = measure(sys.executable, f"{name}/scansynth", folder, cores)
                rate = round(count / one["seconds"], 1)
                found.setdefault(name, []).append(one | {"images": count, "images_a_second": rate})
        make_images(folder, options.inception)
        make_weights(folder)
        found["inception"] = side_by_side("inception", pythons, folder, cores, options.repeats)
        for each in found["inception"].values():
            each["images_a_second"] = round(options.inception / each["seconds"], 2)
    text = json.dumps(found, indent=2)
    print(text)
    if options.output:
        options.output.write_text(text + "\n")


if __name__ == "__main__":
    main()

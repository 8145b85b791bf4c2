"""The Inception network and the figures in its features agree with torch-fidelity 0.4.0, with weights by a recipe."""

import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from scansynth.evaluate.coverage import prdc
from scansynth.evaluate.frechet import Gaussian, frechet_distance
from scansynth.evaluate.inception import InceptionExtractor
from scansynth.evaluate.inception_score import inception_score
from scansynth.evaluate.kernel import kernel_distance
from scansynth.files import read_json


def drawn(name: str, shape: list[int]) -> torch.Tensor:
    """The tensor of this name."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    if len(shape) > 1:
        values = generator.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    elif name.endswith(("bn.weight", "running_var")):
        values = generator.uniform(0.5, 1.5, shape)
    else:
        values = generator.standard_normal(shape) * 0.1
    return torch.from_numpy(values.astype(np.float32))


@pytest.fixture(scope="module")
def reference(shared_data):
    folder = shared_data.parent / "reference" / "inception_parity"
    if not folder.is_dir():
        pytest.skip("needs the figures of torch-fidelity in shared/reference/inception_parity")
    return folder


@pytest.fixture(scope="module")
def expected(reference):
    return read_json(reference / "expected.json")


@pytest.fixture(scope="module")
def weights(expected):
    return {name: drawn(name, shape) for name, shape in expected["shapes"].items()}


@pytest.fixture(scope="module")
def extractor(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(weights, path)
    return InceptionExtractor(path)


@pytest.fixture(scope="module")
def radiographs(shared_data):
    paths = sorted((shared_data / "nih-cxr" / "images").glob("*.png"))
    with ThreadPoolExecutor() as pool:
        return np.stack(list(pool.map(lambda path: np.asarray(Image.open(path).convert("L")), paths)))[:, None]


@pytest.fixture(scope="module")
def features(extractor, radiographs):
    return extractor.features(radiographs)


@pytest.fixture(scope="module")
def halves(features):
    values = features.astype(np.float64)
    return values[:400], values[400:]


def assert_close(found, wanted):
    assert np.abs(found - wanted).max() < 1e-3 * np.abs(wanted).max()


def test_network(reference, extractor, weights, features):
    random = np.random.Generator(np.random.PCG64(7)).integers(0, 256, (4, 3, 128, 128), dtype=np.uint8)
    expected = np.load(reference / "expected.npz")
    for inputs, found in (("random", extractor.features(random)), ("files", features[:4])):
        assert_close(found, expected[f"{inputs}_2048"])
        logits = found @ weights["fc.weight"].numpy().T
        assert_close(logits, expected[f"{inputs}_logits_unbiased"])
        assert_close(logits + weights["fc.bias"].numpy(), expected[f"{inputs}_logits"])
        exponentials = np.exp(expected[f"{inputs}_logits_unbiased"].astype(np.float64))
        assert_close(extractor.probabilities(found), exponentials / exponentials.sum(1, keepdims=True))


def test_fid(expected, halves):
    first, last = (Gaussian.fitted(half) for half in halves)
    assert frechet_distance(first, last) == pytest.approx(expected["fid"]["frechet_inception_distance"], rel=1e-3)


def test_kid(expected, halves):
    found = kernel_distance(*halves)
    assert found == pytest.approx(expected["kid"]["kernel_inception_distance_mean"], rel=1e-3)


def test_inception_score(expected, extractor, features):
    found = inception_score(extractor.probabilities(features))
    assert found == pytest.approx(expected["isc"]["inception_score_mean"], rel=1e-3)


def test_precision_and_recall(expected, halves):
    first, last = halves
    found = prdc(last, first, neighbours=3)  # torch-fidelity takes its second input for the real images
    assert found.precision == pytest.approx(expected["prc"]["precision"], rel=1e-3)
    assert found.recall == pytest.approx(expected["prc"]["recall"], rel=1e-3)

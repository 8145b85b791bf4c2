import zlib

import numpy as np
import pytest
import torch
from monai.networks.nets import DenseNet121
from PIL import Image
from safetensors.torch import save_file

from scansynth.errors import ScansynthError
from scansynth.evaluate import inception
from scansynth.evaluate.densenet import XrvExtractor, prepared
from scansynth.evaluate.extractors import Extractor, make

# What TorchXRayVision 1.5.7's own DenseNet(...).features2 gives with the weights below for random pixels, of its own
# size and of another.
GENERATOR = np.random.Generator(np.random.PCG64(7))
PIXELS = GENERATOR.integers(0, 256, (3, 1, 224, 224), dtype=np.uint8)[:2]
SMALL = GENERATOR.integers(0, 256, (3, 1, 64, 64), dtype=np.uint8)[:2]
FEATURES = (
    (88.0282, 0.0, 65.09975, 503.08414, 272.0021, 3086.8223),
    (86.39923, 0.0, 55.746708, 536.98926, 278.1111, 3005.8577),
)
FEATURES_OF_SMALL = (
    (52.724022, 0.0, 40.071796, 76.065605, 148.26877, 1574.6589),
    (49.729248, 0.64118975, 38.036091, 90.772095, 156.49121, 1617.8363),
)


def drawn(name: str, shape: torch.Size) -> torch.Tensor:
    """The tensor of this name: the same on every machine, and of a scale that keeps activations away from 0."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    if len(shape) > 1:
        values = generator.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    elif "norm" in name and name.endswith(("weight", "running_var")):
        values = generator.uniform(0.5, 1.5, shape)
    else:
        values = generator.standard_normal(shape) * 0.1
    return torch.from_numpy(values.astype(np.float32))


@pytest.fixture(scope="module")
def tensors():
    shapes = {name: each.shape for name, each in DenseNet121(2, 1, 18).features.state_dict().items() if each.ndim}
    names = {f"features.{name.replace('layers.', '')}": shape for name, shape in shapes.items()}
    names |= {"classifier.weight": (18, 1024), "classifier.bias": (18,), "op_threshs": (18,)}
    return {name: drawn(name, shape) for name, shape in names.items()}


@pytest.fixture(scope="module")
def path(tensors, tmp_path_factory):
    found = tmp_path_factory.mktemp("weights") / "xrv.safetensors"
    save_file(tensors, found)
    return found


@pytest.fixture(scope="module")
def extractor(path):
    return make("xrv", None, {"xrv": path})


@pytest.mark.parametrize(("pixels", "expected"), [(PIXELS, FEATURES), (SMALL, FEATURES_OF_SMALL)])
def test_agrees_with_torchxrayvision(extractor, pixels, expected):
    found = extractor.features(pixels)
    assert found.dtype == np.float32
    assert found.shape == (2, 1024)
    np.testing.assert_allclose(found[:, ::200], expected, rtol=1e-4, atol=1e-3)


def test_neither_order_nor_batch_matters(extractor, monkeypatch):
    images = np.concatenate([SMALL, SMALL[:1, :, ::-1]])
    together = extractor.features(images)
    order = np.array([2, 0, 1])
    monkeypatch.setattr(inception, "BATCH", 2)
    np.testing.assert_allclose(extractor.features(images[order]), together[order], rtol=1e-5, atol=1e-3)
    assert extractor.features(images[:0]).shape == (0, 1024)


def test_gray_that_is_repeated_is_the_same(extractor):
    np.testing.assert_allclose(extractor.features(SMALL.repeat(3, 1)), extractor.features(SMALL), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("size", [64, 224, 300, 512])
def test_resize_is_anti_aliased(size):
    pixels = np.random.default_rng(0).integers(0, 256, (size, size), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(pixels.astype(np.float32)).resize((224, 224), Image.Resampling.BILINEAR))
    found = prepared(pixels[None, None])[0, 0]
    np.testing.assert_allclose((found / 1024 + 1) / 2 * 255, expected, atol=1e-2)
    np.testing.assert_allclose(
        prepared(np.array([[[[0]], [[0]]], [[[255]], [[255]]]], np.uint8))[:, 0, 0, 0], [-1024, 1024]
    )


def test_has_no_classes(extractor):
    assert extractor.classes == ()
    assert extractor.probabilities(np.zeros((5, 1024), np.float32)).shape == (5, 0)
    assert not extractor.published_inception
    assert "NIH ChestX-ray14" in extractor.notes
    assert all(hasattr(extractor, name) for name in Extractor.__annotations__)


@pytest.mark.parametrize("name", ["missing.safetensors", "published.pt"])
def test_what_cannot_be_read_says_how_to_get_the_file(tmp_path, name):
    path = tmp_path / name
    if path.suffix == ".pt":
        torch.save({"features.conv0.weight": torch.zeros(3)}, path)
    with pytest.raises(ScansynthError, match=rf"(?s){name}: cannot be read .*save_file.*densenet121-res224-all"):
        XrvExtractor(path)


def test_tensors_of_another_network_are_named(tmp_path):
    path = tmp_path / "colours.safetensors"
    save_file({"features.conv0.weight": torch.zeros(64, 3, 7, 7)}, path)
    with pytest.raises(ScansynthError, match=r"604 of 604 .* features.conv0.weight of shape \(64, 1, 7, 7\), has"):
        XrvExtractor(path)
    save_file({"features.conv0.weight": torch.zeros(64, 1, 7, 7)}, path)
    with pytest.raises(ScansynthError, match=r"603 of 604 .* features.norm0.weight .* is missing"):
        XrvExtractor(path)

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from scansynth.errors import ScansynthError
from scansynth.evaluate import inception
from scansynth.evaluate.extractors import Extractor, make
from scansynth.evaluate.inception import InceptionExtractor, fill, network, prepared

# What torch-fidelity 0.4.0 gives with the weights below for 2 images of random pixels.
PIXELS = np.random.Generator(np.random.PCG64(7)).integers(0, 256, (4, 3, 128, 128), dtype=np.uint8)[:2]
FEATURES = (
    (9.8324337, 0.0670752, 0.0, 8.3797722, 8.6556892, 0.0, 0.0566908, 0.0, 7.1485920, 5.8718910),
    (9.8526487, 0.1194518, 0.0, 8.3964853, 8.6509905, 0.0, 0.0991941, 0.0036192, 7.1767912, 6.2578006),
)
LOGITS = (
    (-14.424179, -3.073215, -10.290035, -1.674859, -3.553732, -10.750175),
    (-14.509593, -2.881127, -10.641352, -1.804712, -3.395396, -10.590506),
)


def drawn(name: str, shape: torch.Size) -> torch.Tensor:
    """The tensor of this name: the same on every machine, and of a scale that keeps activations away from 0."""
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
def tensors():
    return {name: drawn(name, tensor.shape) for name, tensor in network().state_dict().items()}


@pytest.fixture(scope="module")
def path(tensors, tmp_path_factory):
    found = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(tensors, found)
    return found


@pytest.fixture(scope="module")
def extractor(path):
    return InceptionExtractor(path)


@pytest.fixture(scope="module")
def features(extractor):
    return extractor.features(PIXELS)


def test_agrees_with_torch_fidelity(extractor, features):
    assert features.dtype == np.float32
    assert features.shape == (2, 2048)
    chosen = features[:, [*range(6), *range(800, 2048, 400)]]
    np.testing.assert_allclose(chosen, FEATURES, rtol=1e-4, atol=1e-5)


def test_probabilities_are_of_the_logits_without_their_bias(extractor, features):
    probabilities = extractor.probabilities(features)
    assert probabilities.dtype == np.float64
    assert probabilities.shape == (2, len(extractor.classes))
    np.testing.assert_allclose(probabilities.sum(1), 1)
    logarithms = np.log(probabilities[:, ::200])
    np.testing.assert_allclose(logarithms - logarithms[:, :1], np.subtract(LOGITS, np.array(LOGITS)[:, :1]), rtol=1e-4)


def test_gray_is_repeated_and_other_channels_are_averaged(extractor):
    gray = PIXELS[:, :1]
    expected = extractor.features(gray.repeat(3, 1))
    np.testing.assert_allclose(extractor.features(gray), expected, rtol=1e-5, atol=1e-5)
    contrasts = np.concatenate([gray // 2, gray // 2 + 100], 1)
    np.testing.assert_allclose(prepared(contrasts), prepared(gray // 2 + 50), atol=1e-5)


def test_neither_order_nor_batch_matters(extractor, monkeypatch):
    images = PIXELS.reshape(6, 1, 128, 128)[:3]
    together = extractor.features(images)
    order = np.array([2, 0, 1])
    monkeypatch.setattr(inception, "BATCH", 2)
    np.testing.assert_allclose(extractor.features(images[order]), together[order], rtol=1e-5, atol=1e-5)
    assert extractor.features(images[:0]).shape == (0, 2048)


@pytest.mark.parametrize("size", [64, 100, 256, 299, 512])
def test_resize_takes_a_pixel_at_its_upper_left_corner(size):
    ramp = np.minimum(np.arange(size), 255).astype(np.uint8)
    image = np.broadcast_to(ramp, (1, 1, size, size))
    found = prepared(image)[0, 0] * 128 + 128
    expected = np.interp(np.arange(299) * size / 299, np.arange(size), ramp)
    np.testing.assert_allclose(found, np.broadcast_to(expected, (299, 299)), atol=1e-3)
    np.testing.assert_allclose(prepared(image.swapaxes(2, 3)), prepared(image).swapaxes(2, 3), atol=1e-5)


def test_only_the_published_file_gives_an_fid(path, extractor, monkeypatch):
    assert not extractor.published_inception
    assert "no distance of its features is an FID" in extractor.notes
    monkeypatch.setattr(inception, "SHA256", extractor.weights_sha256)
    published = make("inception", None, {"inception": path})
    assert published.published_inception
    assert "is FID" in published.notes
    assert all(hasattr(published, name) for name in Extractor.__annotations__)


def test_safetensors_are_the_same_network(tensors, tmp_path, features):
    path = tmp_path / "inception.safetensors"
    save_file({name: each for name, each in tensors.items() if not name.endswith("num_batches_tracked")}, path)
    np.testing.assert_array_equal(InceptionExtractor(path).features(PIXELS), features)


class Touch:
    """What runs code when a pickle of it is loaded without care."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (type(self.path).touch, (self.path,))


@pytest.mark.parametrize("name", ["missing.pth", "text.pth", "text.safetensors", "tensor.pth", "code.pth"])
def test_a_file_without_tensors_is_named(tmp_path, name):
    path = tmp_path / name
    if path.stem == "text":
        path.write_text("no weights")
    if path.stem == "tensor":
        torch.save(torch.zeros(3), path)
    if path.stem == "code":
        torch.save({"fc.weight": Touch(tmp_path / "ran")}, path)
    with pytest.raises(ScansynthError, match=rf"{name}: cannot be read as tensors.*extract.inception"):
        InceptionExtractor(path)
    assert not (tmp_path / "ran").exists()


def test_tensors_of_another_network_are_named(tensors):
    other = tensors | {"fc.weight": torch.zeros(1000, 2048)}
    with pytest.raises(
        ScansynthError, match=r"^a.pth: .* 1 of 472 .* fc.weight of shape \(1008, 2048\), has .*2048\). Do"
    ):
        fill(tensors, other, Path("a.pth"), "Do this.")
    other = {name: each for name, each in tensors.items() if not name.startswith("Mixed_7c.branch_pool")}
    with pytest.raises(ScansynthError, match=r"5 of 472 .* Mixed_7c.branch_pool.conv.weight .* is missing"):
        fill(tensors, other, Path("a.pth"), "Do this.")


def test_leaves_the_global_generator_as_it_was(path):
    before = torch.get_rng_state()
    InceptionExtractor(path)
    assert torch.equal(torch.get_rng_state(), before)

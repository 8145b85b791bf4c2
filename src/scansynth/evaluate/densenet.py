"""TorchXRayVision's DenseNet-121: features of a network that was trained on chest radiographs.

Cohen et al. 2022, arXiv:2111.00595. The architecture is MONAI's, which computes the same under other names.
"""

from pathlib import Path

import numpy as np
import torch
from monai.networks.nets import DenseNet121
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from scansynth.device import best_device
from scansynth.errors import ScansynthError
from scansynth.evaluate.inception import extract, fill
from scansynth.files import sha256

SIDE = 224
RANGE = 1024  # pixels go from -1024 to 1024, as if they were Hounsfield units
WIDTH = 1024
REMEDY = (
    "The published weights are a pickle, which is never loaded here: convert them once, where torchxrayvision is "
    "installed, by\n"
    """python -c "import torchxrayvision as x, safetensors.torch as s; s.save_file("""
    """x.models.DenseNet(weights='densenet121-res224-all').state_dict(), 'xrv.safetensors')"\n"""
    "and name that file as extract.xrv."
)


def prepared(pixels: np.ndarray) -> Tensor:
    """The network's input, (n, 1, 224, 224), -1024 to 1024, of uint8 images (n, channels, size, size).

    Several channels are averaged. The resize is a triangle filter whose support grows with the reduction: one step,
    anti-aliased, the same as Pillow's and TorchXRayVision's own.
    """
    images = torch.from_numpy(np.array(pixels)).to(best_device(), torch.float32).mean(1, keepdim=True)
    resized = F.interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True)
    return (resized / 255 * 2 - 1) * RANGE


class XrvExtractor:
    """The 1024 features of TorchXRayVision's DenseNet-121.

    Its outputs are findings of which an image may have several: probabilities that sum to 1, which an Inception score
    is of, there are none.
    """

    name = "xrv"
    version = "1"
    fitted = ""
    published_inception = False
    classes = ()
    notes = (
        "TorchXRayVision's DenseNet-121 for chest radiographs. Its published weights were trained on NIH ChestX-ray14, "
        "among others: distances of images from there are of images that it has seen, and too small to be trusted. "
        "Images are resized once, to 224x224, by an anti-aliased triangle filter; several channels are averaged. It "
        "tells findings that occur together, hence no classes for an Inception score"
    )

    def __init__(self, weights: Path) -> None:
        """Load the weights: safetensors with TorchXRayVision's names, whose classifier is not needed.

        Raises:
            ScansynthError: if the file cannot be read, or is of another network.
        """
        with torch.device("meta"):  # initial weights would take time, and numbers from the global generator
            model = DenseNet121(spatial_dims=2, in_channels=1, out_channels=1)
        model.to_empty(device="cpu")
        tensors = model.features.state_dict().items()
        try:
            found = load_file(weights)
        except (OSError, SafetensorError) as error:
            raise ScansynthError(
                f"{weights}: cannot be read as safetensors ({type(error).__name__}). {REMEDY}"
            ) from error
        fill({f"features.{name.replace('.layers.', '.')}": each for name, each in tensors}, found, weights, REMEDY)
        # The classifier's rectifier and its mean over space, without the classifier.
        self._body = nn.Sequential(model.features, model.class_layers[:-1]).eval()
        self._body.to(best_device(), memory_format=torch.channels_last)
        self.weights_sha256 = sha256(weights)

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Means over space of the last block, rectified: float32 of shape (n, 1024), of uint8 images of any size."""
        return extract(self._body, prepared, pixels, WIDTH)

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """No columns: float64 of shape (n, 0)."""
        return np.empty((len(features), 0))

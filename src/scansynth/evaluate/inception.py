"""FID's network: the Inception-v3 of the TensorFlow graph of December 2015.

Szegedy et al. 2016, arXiv:1512.00567, as that graph has it: average pools leave their padding out, the last block pools
by maximum, and there are 1008 classes. The names of its tensors are those of the weights published for PyTorch.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from scipy.special import softmax
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from scansynth.device import best_device
from scansynth.errors import ScansynthError
from scansynth.evaluate.published import ADDRESS, SHA256
from scansynth.files import sha256

SIDE = 299
WIDTH = 2048
CLASSES = 1008
BATCH = 16  # images; on a CPU, 2 to 32 take the same time an image
REMEDY = f"Name the published file ({ADDRESS}) as extract.inception, or set that to null for it to be downloaded."

Step = tuple[int | tuple[int, int], ...]
ROW, COLUMN = (1, 7), (7, 1)
SHORT_ROW, SHORT_COLUMN = (1, 3), (3, 1)


class Convolution(nn.Sequential):
    """A convolution without a bias, its outputs normalised by those of training and rectified."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int | tuple[int, int], stride: int = 1, padding: str = "same"
    ) -> None:
        super().__init__(
            OrderedDict(
                conv=nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False),
                bn=nn.BatchNorm2d(outputs, eps=0.001),
                relu=nn.ReLU(inplace=True),
            )
        )


class Fork(nn.Module):
    """Modules with the same input, their outputs side by side."""

    def __init__(self, *ways: nn.Module) -> None:
        super().__init__()
        self._ways = ways  # in a tuple they are not registered here: the block that they are of does so, by their names

    def forward(self, x: Tensor) -> Tensor:
        """The outputs of all, (n, channels, height, width)."""
        return torch.cat([way(x) for way in self._ways], 1)


class Mixed(nn.Module):
    """Branches of convolutions with the same input, their outputs side by side; the last branch begins with a pool.

    A branch is a sequence of steps (outputs, kernel), or (outputs, kernel, kernel) for two convolutions of one input.
    The last step of each has the stride.
    """

    def __init__(
        self,
        inputs: int,
        pool: nn.Module,
        branch_pool: tuple[Step, ...] = (),
        stride: int = 1,
        **branches: tuple[Step, ...],
    ) -> None:
        super().__init__()
        ways = [self._branch(name, inputs, steps, stride) for name, steps in branches.items()]
        self.fork = Fork(*ways, nn.Sequential(pool, *self._branch("branch_pool", inputs, branch_pool, stride)))

    def _branch(self, name: str, inputs: int, steps: tuple[Step, ...], stride: int) -> nn.Sequential:
        branch = nn.Sequential()
        for number, (outputs, *kernels) in enumerate(steps, 1):
            moved = (stride, "valid") if stride > 1 and number == len(steps) else ()
            ways = [Convolution(inputs, outputs, kernel, *moved) for kernel in kernels]
            step = name if len(steps) == 1 else f"{name}_{number}"
            for way, letter in zip(ways, "ab" if len(ways) == 2 else [""], strict=True):
                self.add_module(step + letter, way)
            branch.append(Fork(*ways) if len(ways) == 2 else ways[0])
            inputs = outputs
        return branch

    def forward(self, x: Tensor) -> Tensor:
        """The outputs of all branches, (n, channels, height, width)."""
        return self.fork(x)


def network() -> nn.Sequential:
    """Images (n, 3, 299, 299), -1 to 1 -> 1008 logits; the layer before the last gives the 2048 features."""
    return nn.Sequential(
        OrderedDict(
            Conv2d_1a_3x3=Convolution(3, 32, 3, 2, "valid"),
            Conv2d_2a_3x3=Convolution(32, 32, 3, 1, "valid"),
            Conv2d_2b_3x3=Convolution(32, 64, 3),
            MaxPool_1=nn.MaxPool2d(3, 2),
            Conv2d_3b_1x1=Convolution(64, 80, 1),
            Conv2d_4a_3x3=Convolution(80, 192, 3, 1, "valid"),
            MaxPool_2=nn.MaxPool2d(3, 2),
            Mixed_5b=_fives(192, 32),
            Mixed_5c=_fives(256, 64),
            Mixed_5d=_fives(288, 64),
            Mixed_6a=Mixed(
                288,
                nn.MaxPool2d(3, 2),
                stride=2,
                branch3x3=((384, 3),),
                branch3x3dbl=((64, 1), (96, 3), (96, 3)),
            ),
            Mixed_6b=_sevens(128),
            Mixed_6c=_sevens(160),
            Mixed_6d=_sevens(160),
            Mixed_6e=_sevens(192),
            Mixed_7a=Mixed(
                768,
                nn.MaxPool2d(3, 2),
                stride=2,
                branch3x3=((192, 1), (320, 3)),
                branch7x7x3=((192, 1), (192, ROW), (192, COLUMN), (192, 3)),
            ),
            Mixed_7b=_forked(1280, _average()),
            Mixed_7c=_forked(2048, nn.MaxPool2d(3, 1, padding=1)),
            AvgPool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(WIDTH, CLASSES),
        )
    ).eval()


def _average() -> nn.AvgPool2d:
    return nn.AvgPool2d(3, 1, padding=1, count_include_pad=False)


def _fives(inputs: int, pooled: int) -> Mixed:
    return Mixed(
        inputs,
        _average(),
        branch1x1=((64, 1),),
        branch5x5=((48, 1), (64, 5)),
        branch3x3dbl=((64, 1), (96, 3), (96, 3)),
        branch_pool=((pooled, 1),),
    )


def _sevens(width: int) -> Mixed:
    return Mixed(
        768,
        _average(),
        branch1x1=((192, 1),),
        branch7x7=((width, 1), (width, ROW), (192, COLUMN)),
        branch7x7dbl=((width, 1), (width, COLUMN), (width, ROW), (width, COLUMN), (192, ROW)),
        branch_pool=((192, 1),),
    )


def _forked(inputs: int, pool: nn.Module) -> Mixed:
    return Mixed(
        inputs,
        pool,
        branch1x1=((320, 1),),
        branch3x3=((384, 1), (384, SHORT_ROW, SHORT_COLUMN)),
        branch3x3dbl=((448, 1), (384, 3), (384, SHORT_ROW, SHORT_COLUMN)),
        branch_pool=((192, 1),),
    )


def prepared(pixels: np.ndarray) -> Tensor:
    """The network's input, (n, 3, 299, 299), of uint8 images (n, channels, size, size).

    Three channels are taken as colours; else their mean is repeated. The resize is TensorFlow 1's, with corners not
    aligned: a pixel's value is at its upper left corner, and none is averaged where images are larger than 299.
    """
    images = torch.from_numpy(np.array(pixels)).to(best_device(), torch.float32)
    if images.shape[1] != 3:
        images = images.mean(1, keepdim=True)
    size = images.shape[-1]
    positions = torch.arange(SIDE, device=images.device, dtype=torch.float32) * (size / SIDE)
    low = positions.long()
    high, share = (low + 1).clamp(max=size - 1), positions - low
    rows = torch.lerp(images[:, :, low], images[:, :, high], share[:, None])
    resized = torch.lerp(rows[..., low], rows[..., high], share)
    return (resized.expand(-1, 3, -1, -1) - 128) / 128


def fill(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path, remedy: str) -> None:
    """Copy the tensors of a file into those of a network; counts of training's batches may be missing.

    Raises:
        ScansynthError: if the file lacks one, or has it in another shape.
    """
    wanted = {name: tensor for name, tensor in wanted.items() if not name.endswith("num_batches_tracked")}
    shapes = {name: tuple(found[name].shape) if name in found else None for name in wanted}
    wrong = [name for name, tensor in wanted.items() if shapes[name] != tuple(tensor.shape)]
    if wrong:
        shape = tuple(wanted[wrong[0]].shape)
        has = "is missing" if shapes[wrong[0]] is None else f"has the shape {shapes[wrong[0]]}"
        raise ScansynthError(
            f"{path}: weights of another network. {len(wrong)} of {len(wanted)} tensors do not fit: the first, "
            f"{wrong[0]} of shape {shape}, {has}. {remedy}"
        )
    for name, tensor in wanted.items():
        tensor.copy_(found[name])


@torch.inference_mode()
def extract(body: nn.Module, prepare: Callable[[np.ndarray], Tensor], pixels: np.ndarray, width: int) -> np.ndarray:
    """What a network gives for uint8 images that are prepared for it, float32 of shape (n, width)."""
    found = np.empty((len(pixels), width), np.float32)
    # TensorFloat-32, in which GPUs compute convolutions unless told otherwise, keeps 10 bits.
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        for start in range(0, len(pixels), BATCH):
            images = prepare(pixels[start : start + BATCH]).contiguous(memory_format=torch.channels_last)
            found[start : start + BATCH] = body(images).numpy(force=True)
    return found


def _tensors(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # which ones a damaged file raises is nowhere said
        raise ScansynthError(f"{path}: cannot be read as tensors ({type(error).__name__}). {REMEDY}") from error


class InceptionExtractor:
    """The 2048 features, and the 1008 classes of photographs, of FID's network."""

    name = "inception"
    version = "1"
    fitted = ""
    classes = tuple(map(str, range(CLASSES)))  # the published weights come without names

    def __init__(self, weights: Path) -> None:
        """Load the weights: tensors in a PyTorch file (.pth; nothing but tensors is taken from it) or in safetensors.

        Raises:
            ScansynthError: if the file cannot be read, or is of another network.
        """
        with torch.device("meta"):  # initial weights would take time, and numbers from the global generator
            model = network()
        model.to_empty(device="cpu")
        fill(model.state_dict(), _tensors(weights), weights, REMEDY)
        self._classifier = model.fc.weight.double().numpy(force=True)
        for each in model.modules():
            if isinstance(each, Convolution):
                each.conv, each.bn = fuse_conv_bn_eval(each.conv, each.bn), nn.Identity()
        self._body = model[:-1].to(best_device(), memory_format=torch.channels_last)
        self.weights_sha256 = sha256(weights)
        self.published_inception = self.weights_sha256 == SHA256
        known = (
            "the published weights: the Frechet distance of its features is FID"
            if self.published_inception
            else "other weights than the published ones: no distance of its features is an FID"
        )
        self.notes = (
            f"Inception-v3 of December 2015 with {known}. Images are resized once, to 299x299, by TensorFlow 1's "
            "bilinear resize (corners not aligned; no anti-aliasing, which enlarging does not need); 3 channels are "
            "taken as colours, else their mean is repeated"
        )

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Means over space of the last block, float32 of shape (n, 2048), of uint8 images of any size."""
        return extract(self._body, prepared, pixels, WIDTH)

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Softmax of the logits without their bias, as the Inception score has it, float64 of shape (n, 1008)."""
        return softmax(features.astype(np.float64) @ self._classifier.T, axis=1)

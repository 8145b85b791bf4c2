"""Phantom films with their outlines, and variations of them: what the segmenter learns from.

Variations go far beyond what a film looks like, so that a real one is just one more (domain randomisation: Tobin et al.
2017, arXiv:1703.06907; Billot et al. 2023, arXiv:2107.09559).
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Generator, Tensor
from torch.nn import functional as F

from scansynth import cores, workers
from scansynth.acquire.phantoms import chest as phantom
from scansynth.acquire.phantoms import frontal
from scansynth.evaluate.anatomy.chest import HEART, LEFT_LUNG, RIGHT_LUNG
from scansynth.prepare.decoded import Decoded
from scansynth.prepare.normalize import normalize
from scansynth.sections import Images

# Shares of the films that are mirrored, that look as they were rendered, and that show nothing.
FLIPPED, PLAIN, BLANK = 0.5, 0.25, 0.04
SHADES = (3, 6, 12, 24, 48)  # a side
AERATED = 12.0  # mm of pleural cavity that count as lung, as in the phantoms' own truth
MIRRORED = [0, LEFT_LUNG, RIGHT_LUNG, HEART]  # what each structure is in a mirror


@dataclass(frozen=True)
class Phantoms:
    """Frontal phantoms as an experiment prepares them, and what is known of them."""

    pixels: np.ndarray  # uint8, (n, 1, size, size)
    masks: np.ndarray  # uint8, (n, size, size)
    ratios: np.ndarray  # float64, (n,): cardiothoracic
    patients: np.ndarray  # int64, (n,)


def render(seed: int, count: int, images: Images) -> Phantoms:
    """``count`` frontal phantoms of a seed, the same whatever the number of cores."""
    # A lateral is one in seven: of this many there are enough others.
    items = (item for item in phantom.plan(seed, 2 * count + 20) if phantom.draw_case(seed, item)[0].view != "LATERAL")
    items = [item for _, item in zip(range(count), items, strict=False)]
    job = partial(_rendered, seed, images)
    if cores.granted() == 1:
        with threadpool_limits(1):
            made = [job(item) for item in items]
    else:
        with workers.pool(cores.granted()) as pool:
            made = list(pool.map(job, items, chunksize=8))
    pixels, masks, ratios = zip(*made, strict=True)
    return Phantoms(np.stack(pixels), np.stack(masks), np.array(ratios), np.array([item.patient for item in items]))


def _rendered(seed: int, images: Images, item: phantom.Plan) -> tuple[np.ndarray, np.ndarray, float]:
    image, case, _, _ = phantom.render(seed, item)
    mask, ratio = truth(case)
    decoded = Decoded(image[None], span=(0, 1), spacing=(case.pixel, case.pixel), mask=mask)
    prepared = normalize(decoded, images.model_copy(update={"channels": "gray"}))
    return prepared.pixels, prepared.mask, ratio


def truth(case: phantom.Case) -> tuple[np.ndarray, float]:
    """Outlines (N, N), uint8, of a frontal phantom at its own size, and its cardiothoracic ratio.

    A lung is its whole field above the diaphragm, whatever fills it: fluid and free air are the lungs' sickness, and
    do not make the thorax narrower. The heart is its whole shadow, what the diaphragm's overlaps included.
    """
    seen = frontal.Chest(case.rays, case.body, case.state)
    cavity = seen.cavities[0]
    low, high = cavity.pick(cavity.low, cavity.high)
    field = cavity.whole(high - low - cavity.filled(low, high, fluid=False)) * case.rays.length > AERATED
    under, over = frontal.dome_interval(case.rays, case.body, case.state)
    mask = np.where(field & ~(over > under), np.where(seen.x < 0, RIGHT_LUNG, LEFT_LUNG), 0)
    return np.where(seen.heart_shadow, HEART, mask).astype(np.uint8), seen.cardiothoracic_ratio()


def varied(images: Tensor, targets: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Variations of images (n, 1, s, s), 0 to 1, and of the shares of each class in their pixels (n, classes, s, s)."""
    images, targets = _moved(images, targets, generator)
    lungs = targets[:, [RIGHT_LUNG, LEFT_LUNG]].sum(1, keepdim=True)
    films = _obstructed(_exposed(_clouded(images, lungs, generator), generator), generator)
    plain = _some(generator, len(images), PLAIN)
    return _blanked(torch.where(plain, images, films), targets, generator)


def _moved(images: Tensor, targets: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Another position, size and shape; half of them mirrored, or the heart's side would be taken for granted."""
    n, _, size, _ = images.shape
    scale = torch.exp(_uniform(generator, n, -0.25, 0.25)).flatten()
    tall = torch.exp(_uniform(generator, n, -0.08, 0.08)).flatten()
    turn = 0.08 * torch.randn(n, generator=generator)
    flip = 1 - 2 * _some(generator, n, FLIPPED).flatten().float()
    across, down = (_uniform(generator, n, -0.2, 0.2).flatten() for _ in range(2))
    rows = (
        torch.stack([scale * tall * torch.cos(turn) * flip, -scale * torch.sin(turn) * flip, across], 1),
        torch.stack([scale * torch.sin(turn), scale / tall * torch.cos(turn), down], 1),
    )
    grid = F.affine_grid(torch.stack(rows, 1), [n, 1, size, size], align_corners=False)
    grid = grid + 0.05 * _clouds(generator, n, 5, size, channels=2).permute(0, 2, 3, 1)
    moved = F.grid_sample(torch.cat([images, targets], 1), grid, padding_mode="border", align_corners=False)
    images, targets = moved[:, :1], moved[:, 1:]
    return images, torch.where(flip.view(n, 1, 1, 1) < 0, targets[:, MIRRORED], targets)


def _clouded(images: Tensor, lungs: Tensor, generator: Generator) -> Tensor:
    """Half of them with opacities in the lungs, from faint to white."""
    n, _, size, _ = images.shape
    shape = torch.sigmoid(3 * (_clouds(generator, n, 4, size) - _uniform(generator, n, 0, 1.5)))
    strength = _uniform(generator, n, 0.2, 0.9) * _some(generator, n, 0.5)
    return images + (0.85 - images).clamp(min=0) * shape * strength * F.avg_pool2d(lungs, 3, 1, 1)


def _exposed(images: Tensor, generator: Generator) -> Tensor:
    """Another contrast and brightness, uneven ones too; blur and noise."""
    n, _, size, _ = images.shape
    images = images.clamp(0, 1) ** torch.exp(0.4 * torch.randn(n, 1, 1, 1, generator=generator))
    images = images * torch.exp(0.3 * torch.randn(n, 1, 1, 1, generator=generator))
    images = images + 0.15 * _clouds(generator, n, 3, size) * _some(generator, n, 0.7)
    blurred = F.avg_pool2d(images, 3, 1, 1)
    images = images + (blurred - images) * _uniform(generator, n, 0, 1) * _some(generator, n, 0.5)
    return images + torch.randn(images.shape, generator=generator) * _uniform(generator, n, 0, 0.05)


def _obstructed(images: Tensor, generator: Generator) -> Tensor:
    """Markers and devices as small boxes, and collimators' borders, mostly black, some white."""
    n, _, size, _ = images.shape
    places = (torch.arange(size) + 0.5) / size
    down, across = places.view(1, 1, size, 1), places.view(1, 1, 1, size)
    for _ in range(3):
        row, column = (_uniform(generator, n, 0, 1) for _ in range(2))
        tall, wide = (_uniform(generator, n, 0.01, 0.06) for _ in range(2))
        box = ((down - row).abs() < tall) & ((across - column).abs() < wide) & _some(generator, n, 0.3)
        images = torch.where(box, _uniform(generator, n, 0, 1.2), images)
    top, bottom, left, right = (_uniform(generator, n, 0, 0.12) * _some(generator, n, 0.5) for _ in range(4))
    border = (down < top) | (down > 1 - bottom) | (across < left) | (across > 1 - right)
    shade = _uniform(generator, n, 0, 0.1) + 0.9 * _some(generator, n, 0.4)
    return torch.where(border & _some(generator, n, 0.3), shade, images).clamp(0, 1.2)


def _blanked(images: Tensor, targets: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """A few of them nothing but shades, with nothing to outline: no chest is to be seen where there is none."""
    n, _, size, _ = images.shape
    shades = sum(_uniform(generator, n, 0, 1) ** 2 * _clouds(generator, n, cells, size) for cells in SHADES)
    blank = _some(generator, n, BLANK)
    nothing = F.one_hot(torch.zeros(1, 1, 1, dtype=torch.long), targets.shape[1]).permute(0, 3, 1, 2).float()
    return torch.where(blank, 0.5 + 0.25 * shades, images), torch.where(blank, nothing, targets)


def _uniform(generator: Generator, n: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(n, 1, 1, 1, generator=generator)


def _some(generator: Generator, n: int, share: float) -> Tensor:
    return torch.rand(n, 1, 1, 1, generator=generator) < share


def _clouds(generator: Generator, n: int, cells: int, size: int, channels: int = 1) -> Tensor:
    """Smooth random fields (n, channels, size, size) of about unit variance, with so many cells a side."""
    coarse = torch.randn(n, channels, cells, cells, generator=generator)
    return F.interpolate(coarse, (size, size), mode="bicubic", align_corners=False)

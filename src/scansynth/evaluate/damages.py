"""Known damage to a set of real images: what a metric that means anything has to see.

Each damage has strengths in a unit of its own; 0 leaves every byte as it is. What chance does to image i depends on the
seed and i alone, and an image that a weak damage strikes is struck by a stronger one too.
"""

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from PIL import Image
from scipy import ndimage
from sklearn.cluster import KMeans

from scansynth import cores

MODES = 8  # clusters that images fall into, of which some are dropped
THUMBNAIL = 8  # pixels a side that images are clustered by
TILES = 4  # a side, that change places
PROTOTYPES = 5  # images that a collapsed model repeats
SHIFT = 3  # pixels that a shifted copy is moved at most
KNOTS = 6  # a side, of an elastic deformation
SWELLING = 0.36  # radius of what swells, in widths of the image
SHARES = (0.0, 0.1, 0.25, 0.5, 1.0)
SHARE = "share of the images"


@dataclass(frozen=True)
class Images:
    """Some images, and the findings and view of each."""

    pixels: np.ndarray  # uint8, (n, channels, size, size)
    rows: list[dict[str, str]]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Sources:
    """Real images of other patients than those to be damaged, which a damage may put in their place."""

    train: Images  # what a model could copy
    spare: Images  # held out, and not in the reference either


Apply = Callable[[Images, float, int, Sources], Images]


@dataclass(frozen=True)
class Damage:
    """A kind of damage and its strengths, from none (0) to strong."""

    name: str
    meaning: str
    unit: str
    strengths: tuple[float, ...]
    apply: Apply

    def __call__(self, images: Images, strength: float, seed: int, sources: Sources) -> Images:
        """The damaged images, as many as there were, with their rows; the images as they are for strength 0."""
        return self.apply(images, strength, seed, sources) if strength else images


def applicable(images: Images, domain: str | None) -> tuple[Damage, ...]:
    """The damages that are any to such images.

    Tissue has no left or right nor up or down, one channel cannot be at odds with another, and of labels it takes two
    different ones to swap them.
    """
    left_out = set()
    if domain == "tissue":
        left_out |= {"mirrored", "upside down"}
    if images.pixels.shape[1] == 1:
        left_out.add("channels")
    if len({_label(row) for row in images.rows}) < 2:
        left_out.add("labels")
    return tuple(damage for damage in DAMAGES if damage.name not in left_out)


def _generator(seed: int, index: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence((seed, index)))


def _struck(n: int, share: float, seed: int) -> np.ndarray:
    """Which of n images are among the share, bool of shape (n,)."""
    return np.array([_generator(seed, i).random() < share for i in range(n)])


def _as_bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _each(change: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]) -> Apply:
    """The damage that changes every image: uint8 of shape (channels, size, size) -> the same shape, 0 to 255."""

    def apply(images: Images, strength: float, seed: int, sources: Sources) -> Images:
        def changed(i: int) -> np.ndarray:
            return _as_bytes(change(images.pixels[i], strength, _generator(seed, i)))

        with ThreadPoolExecutor(cores.granted()) as pool:
            return replace(images, pixels=np.stack(list(pool.map(changed, range(len(images))))))

    return apply


def _some(change: Callable[[np.ndarray], np.ndarray]) -> Apply:
    """The damage that changes a share of the images: uint8 of shape (n, channels, size, size) -> the same shape."""

    def apply(images: Images, strength: float, seed: int, sources: Sources) -> Images:
        struck = _struck(len(images), strength, seed)[:, None, None, None]
        return replace(images, pixels=np.where(struck, change(images.pixels), images.pixels))

    return apply


def _blur(image: np.ndarray, sigma: float, generator: np.random.Generator) -> np.ndarray:
    return ndimage.gaussian_filter(image.astype(np.float64), (0, sigma, sigma), mode="nearest")


def _noise(image: np.ndarray, sigma: float, generator: np.random.Generator) -> np.ndarray:
    return image + generator.normal(0, sigma, image.shape)


def _gamma(image: np.ndarray, excess: float, generator: np.random.Generator) -> np.ndarray:
    return 255 * (image / 255) ** (1 + excess)


def _compressed(image: np.ndarray, loss: float, generator: np.random.Generator) -> np.ndarray:
    """Each channel through JPEG (ISO/IEC 10918-1), whose coarse steps show its blocks of 8 x 8 pixels."""
    channels = []
    for channel in image:
        file = io.BytesIO()
        Image.fromarray(channel).save(file, format="JPEG", quality=round(100 - loss))
        channels.append(np.asarray(Image.open(file)))
    return np.stack(channels)


def _warped(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The image taken at these places, (size, size) each, by cubic splines: linear interpolation would blur it."""
    places = np.stack([rows, columns])
    return np.stack([ndimage.map_coordinates(channel.astype(np.float64), places, mode="nearest") for channel in image])


def _elastic(image: np.ndarray, percent: float, generator: np.random.Generator) -> np.ndarray:
    """Random displacements of this root mean square, in % of the width, smooth between knots on a coarse grid.

    A free-form deformation by cubic splines: Rueckert et al. 1999, IEEE Trans. Med. Imaging 18.
    """
    size = image.shape[-1]
    splines = _splines(size)
    field = splines @ generator.normal(size=(2, KNOTS, KNOTS)) @ splines.T
    field *= percent / 100 * size / np.sqrt((field**2).mean())
    rows, columns = np.mgrid[:size, :size] + field
    return _warped(image, rows, columns)


@cache
def _splines(size: int) -> np.ndarray:
    """What each knot adds to each pixel of a row, (size, KNOTS)."""
    return ndimage.zoom(np.eye(KNOTS), (size / KNOTS, 1))


def _swollen(image: np.ndarray, growth: float, generator: np.random.Generator) -> np.ndarray:
    """The middle magnified by 1 + growth at its centre, by less towards a rim: a wide heart, large ventricles."""
    size = image.shape[-1]
    offsets = np.mgrid[:size, :size] - (size - 1) / 2
    inside = np.clip(1 - (offsets**2).sum(0) / (SWELLING * size) ** 2, 0, 1)
    rows, columns = (size - 1) / 2 + offsets * (1 - growth / (1 + growth) * inside**2)
    return _warped(image, rows, columns)


def _shuffled(image: np.ndarray, count: float, generator: np.random.Generator) -> np.ndarray:
    """``count`` of the tiles change places in a ring: every texture is there, and the anatomy is not."""
    channels, size, _ = image.shape
    side = size // TILES
    tiles = image.reshape(channels, TILES, side, TILES, side).transpose(1, 3, 0, 2, 4).reshape(-1, channels, side, side)
    ring = generator.permutation(len(tiles))[: int(count)]
    tiles[ring] = tiles[np.roll(ring, 1)]
    return tiles.reshape(TILES, TILES, channels, side, side).transpose(2, 0, 3, 1, 4).reshape(image.shape)


def _mirrored(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., ::-1]


def _upside_down(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., ::-1, :]


def _other_channel(pixels: np.ndarray) -> np.ndarray:
    """The first channel of the image half the set away: each is right, and they are not of one patient."""
    changed = pixels.copy()
    changed[:, 0] = np.roll(pixels[:, 0], len(pixels) // 2, axis=0)
    return changed


def _dropped(images: Images, modes: float, seed: int, sources: Sources) -> Images:
    """Images of some clusters give way to spare ones of the other clusters and, where these run out, to repeated ones.

    The clusters are those of k-means among thumbnails: images without labels have them too.
    """
    everything = _joined(images, sources.spare)
    dropped = np.random.default_rng(seed).permutation(MODES)[: int(modes)]
    gone = np.isin(_clusters(everything.pixels, seed), dropped)
    places = np.arange(len(everything))
    lost = places[: len(images)][gone[: len(images)]]
    # Spare images first, each once; then as often as it takes. Only where no image is left do the lost ones stay.
    left = np.concatenate([places[len(images) :][~gone[len(images) :]], places[: len(images)][~gone[: len(images)]]])
    chosen = places[: len(images)].copy()
    chosen[lost] = np.resize(left, len(lost)) if len(left) else lost
    return _taken(everything, chosen)


def _clusters(pixels: np.ndarray, seed: int) -> np.ndarray:
    n, channels, size, _ = pixels.shape
    side = size // THUMBNAIL
    thumbnails = pixels.reshape(n, channels, THUMBNAIL, side, THUMBNAIL, side).mean((3, 5)).reshape(n, -1)
    return KMeans(MODES, n_init=1, random_state=seed % 2**32).fit_predict(thumbnails)


def _collapsed(images: Images, share: float, seed: int, sources: Sources) -> Images:
    """A share of the images become one of the first few."""
    repeated = np.array([_generator(seed, i).integers(PROTOTYPES) for i in range(len(images))]) % len(images)
    return _taken(images, np.where(_struck(len(images), share, seed), repeated, np.arange(len(images))))


def _relabelled(images: Images, share: float, seed: int, sources: Sources) -> Images:
    """A share of the images get the labels of another one, whose labels differ; the images stay as they are."""
    rows = list(images.rows)
    for i in np.flatnonzero(_struck(len(images), share, seed)):
        others = [row for row in images.rows if _label(row) != _label(images.rows[i])]
        rows[i] = others[_generator(seed, i).integers(len(others))]
    return replace(images, rows=rows)


def _label(row: dict[str, str]) -> tuple[str, str]:
    return row["findings"], row["view"]


def _copied(images: Images, share: float, seed: int, sources: Sources) -> Images:
    """A share of the images become training images, each another one as long as there are any."""
    order = np.random.default_rng(seed).permutation(len(sources.train))
    copies = len(images) + np.resize(order, len(images))
    chosen = np.where(_struck(len(images), share, seed), copies, np.arange(len(images)))
    return _taken(_joined(images, sources.train), chosen)


def _copied_askew(images: Images, share: float, seed: int, sources: Sources) -> Images:
    """The same, each copy shifted by up to 3 pixels, its border repeated, and a little brighter or darker."""
    copied = _copied(images, share, seed, sources)
    pixels = copied.pixels.copy()
    for i in np.flatnonzero(_struck(len(images), share, seed)):
        generator = _generator(seed, i)
        down, right = generator.integers(-SHIFT, SHIFT + 1, 2)
        padded = np.pad(pixels[i], ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)), mode="edge")
        size = pixels.shape[-1]
        moved = padded[:, SHIFT + down : SHIFT + down + size, SHIFT + right : SHIFT + right + size]
        pixels[i] = _as_bytes(moved * generator.uniform(0.95, 1.05))
    return replace(copied, pixels=pixels)


def _joined(first: Images, second: Images) -> Images:
    return Images(np.concatenate([first.pixels, second.pixels]), [*first.rows, *second.rows])


def _taken(images: Images, chosen: np.ndarray) -> Images:
    return Images(images.pixels[chosen], [images.rows[i] for i in chosen])


DAMAGES = (
    Damage("blur", "Gaussian blur", "sigma in pixels", (0, 0.5, 1, 2, 4), _each(_blur)),
    Damage("noise", "white Gaussian noise", "sigma in grey levels", (0, 2, 4, 8, 16), _each(_noise)),
    Damage("blocks", "JPEG artefacts", "100 less the quality", (0, 30, 60, 80, 92), _each(_compressed)),
    Damage("gamma", "a wrong tone curve", "gamma less 1", (0, 0.1, 0.25, 0.5, 1), _each(_gamma)),
    Damage("elastic", "smooth random deformation", "% of the width", (0, 0.5, 1, 2, 3), _each(_elastic)),
    Damage("swelling", "the middle enlarged", "growth at the centre", (0, 0.1, 0.2, 0.4, 0.8), _each(_swollen)),
    Damage("tiles", "tiles in each other's places", "tiles of 16", (0, 2, 4, 8, 16), _each(_shuffled)),
    Damage("mirrored", "left and right exchanged", SHARE, SHARES, _some(_mirrored)),
    Damage("upside down", "top and bottom exchanged", SHARE, SHARES, _some(_upside_down)),
    Damage("channels", "the first channel is another image's", SHARE, SHARES, _some(_other_channel)),
    Damage("modes", "kinds of images that are missing", "clusters of 8", (0, 1, 2, 4, 6), _dropped),
    Damage("collapse", "the same 5 images again and again", SHARE, SHARES, _collapsed),
    Damage("copies", "training images", SHARE, SHARES, _copied),
    Damage("copies askew", "training images, shifted a little", SHARE, SHARES, _copied_askew),
    Damage("labels", "the labels of another image", SHARE, SHARES, _relabelled),
)

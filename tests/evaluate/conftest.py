import json

import numpy as np
import pytest

from scansynth.store import open_store


def write_store(folder, pixels, rows, findings=("Bright", "No Finding"), origin="phantom"):
    """A store of these images; a row is (split, findings, view)."""
    path = folder / "toy_64.npy"
    np.save(path, pixels)
    lines = ["id,patient,split,findings,view,sex,age,source,sha256"]
    lines += [f"{i},{i},{split},{found},{view},M,50,{i}.png," for i, (split, found, view) in enumerate(rows)]
    path.with_suffix(".csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    manifest = {"dataset": "toy", "origin": origin, "channels": ["gray"], "findings": list(findings)}
    manifest |= {"views": ["PA", "AP"], "sexes": ["M"], "ages": [50, 50], "no_finding": ""}
    path.with_suffix(".json").write_text(json.dumps(manifest), encoding="utf-8")
    return path


def toy_images(n, seed, channels=1):
    """Odd images show a bright square at the left, even ones at the right; all have smooth noise."""
    generator = np.random.default_rng(seed)
    images = generator.normal(90, 12, (n, channels, 16, 16)).repeat(4, -1).repeat(4, -2)
    images += generator.normal(0, 4, images.shape)
    images[1::2, :, 20:44, 4:28] += 60
    images[0::2, :, 20:44, 36:60] += 60
    return np.clip(images, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def toy_path(tmp_path_factory):
    splits = ["train"] * 48 + ["val"] * 16 + ["test"] * 24
    rows = [(split, ("No Finding", "Bright")[i % 2], "PA") for i, split in enumerate(splits)]
    return write_store(tmp_path_factory.mktemp("toy"), toy_images(len(rows), seed=0), rows)


@pytest.fixture(scope="session")
def toy_store(toy_path):
    return open_store(toy_path)


@pytest.fixture(scope="session")
def toy_samples():
    """Other images of the same kind, as a perfect model would give."""
    return toy_images(40, seed=1)

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from scansynth import store

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images that may lie beside the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the real images in {SHARED.name}/ of a folder 'shared' beside the repository")
    return SHARED


@pytest.fixture
def tiny_store(tmp_path) -> Path:
    """An image store of 60 bright or dark blobs of 64 x 64 pixels; the path of its array."""
    random = np.random.default_rng(0)
    rows, pixels = [], []
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    for i in range(60):
        bright = i % 2
        blob = np.exp(-((x - random.normal(0, 0.2)) ** 2 + (y - random.normal(0, 0.2)) ** 2) / 0.1)
        pixels.append((60 + (120 if bright else 40) * blob + random.normal(0, 2, blob.shape)).round())
        row = {"id": f"i{i}", "patient": f"p{i // 2}", "split": ("train", "train", "train", "val", "test")[i // 2 % 5]}
        row |= {"findings": "Bright" if bright else "Dark", "view": "PA" if i % 3 else "AP"}
        rows.append(row | {"sex": "F", "age": "40", "source": f"i{i}.png", "sha256": f"{i:064x}"})
    path = tmp_path / "data" / "images" / "blobs_64.npy"
    path.parent.mkdir(parents=True)
    np.save(path, np.stack(pixels).astype(np.uint8)[:, None])
    with path.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, store.COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    manifest = {
        "dataset": "blobs",
        "origin": "phantom",
        "patients_are_real": False,
        "size": 64,
        "channels": ["gray"],
        "split": {"by": "patient"},
    }
    manifest |= {"findings": ["Dark", "Bright"], "views": ["PA", "AP"], "no_finding": "Dark"}
    manifest |= {"sexes": ["F"], "ages": [40, 40]}
    path.with_suffix(".json").write_text(json.dumps(manifest))
    return path

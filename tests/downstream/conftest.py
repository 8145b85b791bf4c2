import csv
import json
from dataclasses import dataclass

import numpy as np
import pytest

from scansynth import store
from scansynth.acquire.phantoms import chest
from scansynth.prepare.decoded import Decoded
from scansynth.prepare.normalize import normalize
from scansynth.sections import Images

SPLITS = ["train"] * 5 + ["val"] * 2 + ["test"] * 3
FINDINGS = ["No Finding", "Cardiomegaly", "Effusion", "Nodule", "Pneumothorax"]


def rendered(item):
    image, case, _, _ = chest.render(5, item)
    decoded = Decoded(image[None], span=(0, 1), spacing=(case.pixel, case.pixel))
    return normalize(decoded, Images(size=64)).pixels, case


@dataclass(frozen=True)
class Chests:
    path: object
    pixels: np.ndarray
    rows: list


@pytest.fixture(scope="session")
def chests(tmp_path_factory):
    """A store of 360 chest phantoms of 64 x 64 pixels, half of their patients to train on."""
    items = chest.plan(5, 360)
    pixels, cases = zip(*map(rendered, items), strict=True)
    rows = [
        dict.fromkeys(store.COLUMNS, "")
        | {
            "id": item.name,
            "patient": f"p{item.patient}",
            "split": SPLITS[item.patient % 10],
            "findings": "|".join(case.labels),
            "view": case.view,
        }
        for item, case in zip(items, cases, strict=True)
    ]
    path = tmp_path_factory.mktemp("chests") / "chest_64.npy"
    np.save(path, np.stack(pixels))
    with path.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, store.COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    manifest = {"dataset": "chests", "origin": "phantom", "channels": ["gray"], "findings": FINDINGS}
    manifest |= {"no_finding": "No Finding", "views": ["PA", "AP", "LATERAL"]}
    path.with_suffix(".json").write_text(json.dumps(manifest))
    return Chests(path, np.stack(pixels), rows)

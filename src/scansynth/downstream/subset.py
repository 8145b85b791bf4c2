"""The image store of a fraction of the training patients, for a generator and classifiers that have seen no others."""

import hashlib

import numpy as np

from scansynth import stage
from scansynth.conditions import age_range
from scansynth.errors import ScansynthError
from scansynth.files import write_json
from scansynth.prepare.array import growing
from scansynth.store import COLUMNS, Store, open_store, write_table

COUNTED = ("splits", "quarantined", "quarantined_count", "duplicates", "duplicates_across_splits")  # of the whole store
BATCH = 256  # images copied at once


def chosen(patients: set[str], fraction: float, seed: int) -> set[str]:
    """A share of the patients, at least one: those that come first in the order of a hash of the seed and the patient.

    Those of a smaller fraction are among those of a larger one.
    """
    order = sorted(patients, key=lambda patient: hashlib.sha256(f"{seed}:{patient}".encode()).digest())
    return set(order[: max(1, round(fraction * len(order)))])


def subset(store: Store, fraction: float, seed: int) -> np.ndarray:
    """Positions of the images of a fraction of the training patients, and of all others' (val, test), ascending.

    Raises:
        ScansynthError: if nobody is in the training split.
    """
    patients = {row["patient"] for row in store.table if row["split"] == "train"}
    if not patients:
        raise ScansynthError("the training split is empty: there is no fraction of it to be had (images.train)")
    kept = chosen(patients, fraction, seed)
    return np.array([i for i, row in enumerate(store.table) if row["split"] != "train" or row["patient"] in kept])


def work(job: stage.Job) -> None:
    """Write the store of ``--fraction`` of the training patients: array, table and manifest."""
    store, fraction, seed = open_store(job.inputs["store"]), float(job.texts["fraction"]), job.settings.subset.seed
    indices = subset(store, fraction, seed)
    with growing(job.outputs["pixels"], store.pixels.shape[1:]) as array:
        for start in range(0, len(indices), BATCH):
            array.append(store.pixels[indices[start : start + BATCH]])
    rows = [store.table[i] | {"mask": ""} for i in indices]  # masks lie in the whole store
    patients = {row["patient"] for row in rows if row["split"] == "train"}
    write_table(job.outputs["rows"], COLUMNS, rows)
    about = {key: value for key, value in store.manifest.items() if key not in COUNTED}
    about |= {
        "ages": age_range(rows),
        "images": len(rows),
        "patients": len({row["patient"] for row in rows}),
        "masks": 0,
    }
    about |= {"subset": {"fraction": fraction, "seed": seed, "training_patients": len(patients)}}
    write_json(job.outputs["about"], about)
    job.facts |= about["subset"] | {"training_images": sum(row["split"] == "train" for row in rows)}


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    stage.run(
        "downstream.subset",
        work,
        inputs=("store", "table", "manifest"),
        outputs=("pixels", "rows", "about"),
        texts=("fraction",),
        argv=argv,
    )


if __name__ == "__main__":
    main()

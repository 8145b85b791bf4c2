"""Fractions of the training patients."""

import json

import numpy as np

from scansynth.downstream.subset import chosen, main
from scansynth.store import COLUMNS, open_store, read_table, write_table


def written(tiny_store, folder, fraction):
    files = {"store": tiny_store, "table": tiny_store.with_suffix(".csv"), "manifest": tiny_store.with_suffix(".json")}
    files |= {key: folder / f"{fraction}.{end}" for key, end in (("pixels", "npy"), ("rows", "csv"), ("about", "json"))}
    words = [word for key, path in files.items() for word in (f"--{key}", str(path))]
    main(["--settings", json.dumps({"subset": {"seed": 3}}), "--fraction", str(fraction), *words])
    return open_store(files["pixels"])


def patients(store, split):
    return {row["patient"] for row in store.table if row["split"] == split}


def test_fractions_are_nested_and_held_out_patients_stay(tiny_store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = open_store(tiny_store)
    stores = [written(tiny_store, tmp_path, fraction) for fraction in (0.1, 0.3, 0.7)]
    counts = [len(patients(store, "train")) for store in stores]
    assert counts == [2, 5, 13]  # of 18
    for smaller, larger in zip(stores, [*stores[1:], whole], strict=True):
        assert patients(smaller, "train") < patients(larger, "train")
        for split in ("val", "test"):
            assert patients(smaller, split) == patients(whole, split)
            assert not patients(smaller, "train") & patients(smaller, split)
    by_id = {row["id"]: i for i, row in enumerate(whole.table)}
    for store in stores:
        places = [by_id[row["id"]] for row in store.table]
        np.testing.assert_array_equal(store.pixels, whole.pixels[places])
        # Nobody else's image, and all of theirs.
        theirs = patients(store, "train")
        expected = [row["id"] for row in whole.table if row["split"] != "train" or row["patient"] in theirs]
        assert [row["id"] for row in store.table] == expected
    assert stores[0].manifest["subset"] == {"fraction": 0.1, "seed": 3, "training_patients": 2}
    assert stores[0].manifest["images"] == len(stores[0].pixels)


def test_nobody_else_s_age_is_known(tiny_store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = tiny_store.with_suffix(".csv")
    rows = read_table(table)
    for number, row in enumerate(rows):
        row["age"] = str(20 + number)
    write_table(table, COLUMNS, rows)
    store = written(tiny_store, tmp_path, 0.1)
    known = [int(row["age"]) for row in store.table if row["split"] == "train"]
    assert store.manifest["ages"] == [min(known), max(known)]
    assert max(known) - min(known) < len(rows) - 1


def test_the_choice_is_of_the_seed():
    everybody = {f"p{i}" for i in range(200)}
    first, second = chosen(everybody, 0.5, 0), chosen(everybody, 0.5, 1)
    assert len(first) == len(second) == 100 and 30 < len(first & second) < 70
    assert chosen(everybody, 1, 0) == everybody and len(chosen(everybody, 0.001, 0)) == 1

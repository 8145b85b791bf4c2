"""Sampling and feature extraction shared out over jobs: any number of shards gives the same bytes."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from small import SMALL

from scansynth import calibrate, files, gather, synthesise, train
from scansynth.evaluate import extract, features, imagesets, probe

SETTINGS = SMALL | {"diffusion": {}, "extract": {"extractors": ["probe", "radiomics"]}}
SETTINGS |= {"sample": {"count": 10, "steps": 2, "batch": 4}, "probe": {"steps": 2}}
STORE = {
    "pixels": "data/images/blobs_64.npy",
    "table": "data/images/blobs_64.csv",
    "manifest": "data/images/blobs_64.json",
}


def stage(module, sections, *more, **paths):
    settings = json.dumps({name: SETTINGS[name] for name in sections})
    named = itertools.chain(*((f"--{name}", path) for name, path in paths.items()))
    module.main(["--settings", settings, *named, *more])


@pytest.fixture
def model(tiny_store, monkeypatch):
    """A model and a probe of a tiny store, in the working folder."""
    monkeypatch.chdir(tiny_store.parents[2])
    stage(train, ("network", "diffusion", "train"), **STORE, trained="trained.safetensors", metrics="train.jsonl")
    stage(calibrate, ("calibrate",), **STORE, trained="trained.safetensors", model="model.safetensors")
    stage(probe, ("probe",), **STORE, weights="probe.safetensors")
    return {"model": "model.safetensors", "table": STORE["table"]}


def shards(count):
    return [f"{i}-of-{count}" for i in range(1, count + 1)]


def sampled(model, count, folder):
    made = []
    for shard in shards(count):
        made.append(f"{folder}/shards/{shard}.npy")
        stage(synthesise, ("sample",), "--shard", shard, **model, samples=made[-1])
    outputs = {"samples": f"{folder}/samples.npy", "conditions": f"{folder}/samples.csv"}
    stage(gather, ("sample",), "--shards", *made, **model, **outputs)
    return outputs


def extracted(samples, count, folder):
    inputs = STORE | samples | {"weights": "probe.safetensors"}
    for baseline in ("pca", "untrained"):
        inputs |= {baseline: samples["samples"], f"{baseline}_conditions": samples["conditions"]}
    made = []
    for shard in shards(count):
        shutil.rmtree("data/features", ignore_errors=True)  # or the second time all is found there
        made.append(f"{folder}/features/{shard}.npz")
        stage(extract, ("extract",), "--shard", shard, **inputs, features=made[-1])
    stage(features, ("extract",), "--shards", *made, **inputs, features=f"{folder}/features.npz")
    return f"{folder}/features.npz"


def test_any_number_of_shards_gives_the_same_bytes(model, monkeypatch):
    for module in (imagesets, extract):
        monkeypatch.setattr(module, "BATCH", 4)
    monkeypatch.setattr(imagesets.ImageSet.batches, "__defaults__", (4,))
    whole = sampled(model, 1, "1")
    assert len(np.load(whole["samples"])) == 10
    first = extracted(whole, 1, "1")
    for count in (2, 7):
        shared = sampled(model, count, str(count))
        for name, path in whole.items():
            assert files.sha256(Path(path)) == files.sha256(Path(shared[name])), (count, name)
        assert files.sha256(Path(first)) == files.sha256(Path(extracted(whole, count, str(count))))

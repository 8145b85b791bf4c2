"""Planted copies and planted misread images are refused, exactly these, and the samples stay as they are."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch

from scansynth.conditions import COLUMNS
from scansynth.evaluate import filters, reader
from scansynth.evaluate.classifier import About, Classifier, save
from scansynth.evaluate.imagesets import ImageSet
from scansynth.files import read_json, sha256
from scansynth.sections import Filters
from scansynth.sections import Reader as Options
from scansynth.store import open_store, read_table, write_table

COPIES, WRONG_FINDING, WRONG_VIEW = {3, 10}, {5, 6, 20, 27}, {6, 30}  # numbers of the samples that are planted


def barred(images):
    """The images with a bar at the bottom of every second pair, and the view that this stands for."""
    views = [("PA", "AP")[i // 2 % 2] for i in range(len(images))]
    images = images.copy()
    for image, view in zip(images, views, strict=True):
        image[:, 52:] = 250 if view == "AP" else image[:, 52:]
    return images, views


@pytest.fixture(scope="module")
def files(toy_path, toy_samples, tmp_path_factory):
    """A store, samples of it with planted faults, and the networks that look for these; paths by name."""
    folder = tmp_path_factory.mktemp("filters")
    images, views = barred(np.load(toy_path))
    np.save(folder / "toy_64.npy", images)
    table = [row | {"view": view} for row, view in zip(read_table(toy_path.with_suffix(".csv")), views, strict=True)]
    write_table(folder / "toy_64.csv", table[0], table)
    shutil.copy(toy_path.with_suffix(".json"), folder)

    samples, views = barred(toy_samples)
    other = {"Bright": "No Finding", "No Finding": "Bright", "PA": "AP", "AP": "PA"}
    asked = [{**dict.fromkeys(COLUMNS, ""), "findings": ("No Finding", "Bright")[i % 2]} for i in range(40)]
    for i, view in enumerate(views):
        asked[i]["view"] = other[view] if i in WRONG_VIEW else view
        if i in WRONG_FINDING:
            asked[i]["findings"] = other[asked[i]["findings"]]
        if i in COPIES:
            samples[i] = images[i + 8]
    np.save(folder / "samples.npy", samples)
    write_table(folder / "samples.csv", COLUMNS, asked)

    torch.manual_seed(0)
    save(folder / "probe.safetensors", Classifier(1, 16, 2), About(1, 16, "labels", ("a", "b"), None, None))
    trained = reader.train(open_store(folder / "toy_64.npy"), Options(steps=120, batch=16))
    reader.save(folder / "reader.safetensors", trained)
    names = {"pixels": "toy_64.npy", "table": "toy_64.csv", "manifest": "toy_64.json", "samples": "samples.npy"}
    names |= {"conditions": "samples.csv", "weights": "probe.safetensors", "reader": "reader.safetensors"}
    return {key: folder / name for key, name in names.items()}


@pytest.fixture
def run(files, tmp_path, monkeypatch):
    """Run the stage with these filters; its report, and numbers of the images that passed and that did not."""
    monkeypatch.chdir(tmp_path)

    def filtered(**options):
        sections = {"evaluate": {}, "memorization": {"false_alarms": 0.001}, "filters": options}
        words = ["--settings", json.dumps(sections)]
        outputs = {"report": "f.json", "filtered": "filtered.npy", "kept": "filtered.csv", "refused": "refused.csv"}
        for name, path in (files | outputs).items():
            words += [f"--{name}", str(path)]
        before = sha256(files["samples"])
        filters.main(words)
        assert sha256(files["samples"]) == before
        rows = [list(csv.DictReader((tmp_path / outputs[name]).open())) for name in ("kept", "refused")]
        kept = [int(row["image"]) for row in rows[0]]
        np.testing.assert_array_equal(np.load("filtered.npy"), np.load(files["samples"])[kept])
        return read_json(tmp_path / "f.json"), kept, {int(row["image"]): row["refused_by"] for row in rows[1]}

    return filtered


def test_off_by_default(run):
    report, kept, refused = run()
    assert kept == list(range(40)) and refused == {}
    assert report["kept"]["count"] == 40
    for name, found in report["filters"].items():
        assert not found["on"] and found["refused"] is None and found["reason"] == f"filters.{name} is off"
    assert report["verdicts"][0].startswith("No filter is on")


def test_planted_copies_and_misread_images_are_refused(run):
    report, kept, refused = run(copies=True, finding=0.5, view=True)
    assert {i for i, by in refused.items() if "copies" in by} == COPIES
    assert {i for i, by in refused.items() if "finding" in by} == WRONG_FINDING
    assert {i for i, by in refused.items() if "view" in by} == WRONG_VIEW
    assert refused[6] == "finding|view"
    assert kept == sorted(set(range(40)) - COPIES - WRONG_FINDING - WRONG_VIEW)
    found = report["filters"]
    assert [found[name]["refused"]["count"] for name in ("copies", "finding", "view")] == [2, 4, 2]
    assert report["kept"] == {"count": 33, "of": 40, "share": 0.825, "interval": report["kept"]["interval"]}
    assert report["verdicts"][1].startswith("The filter finding refuses 4 of 40 samples; of real images, 0 of 24")
    assert found["copies"]["refused_real"]["of"] == 40 and found["copies"]["refused_real"]["share"] <= 0.05


def test_refusals_are_counted_by_class(run, files):
    report, kept, _ = run(finding=0.5, view=True)
    rows = list(csv.DictReader(files["conditions"].open()))
    assert set(report["classes"]) == {"Bright", "No Finding", "PA", "AP"}
    for label, counts in report["classes"].items():
        asked = {i for i, row in enumerate(rows) if label in (row["findings"], row["view"])}
        assert counts == {
            "asked": len(asked),
            "finding": len(asked & WRONG_FINDING),
            "view": len(asked & WRONG_VIEW),
            "kept": len(asked & set(kept)),
        }


def test_each_filter_alone(run):
    assert set(run(copies=True)[2]) == COPIES
    assert set(run(finding=0.5)[2]) == WRONG_FINDING
    assert set(run(view=True)[2]) == WRONG_VIEW


def test_no_image_need_pass(run):
    report, kept, refused = run(finding=1.0)
    assert kept == [] and len(refused) == 40
    assert report["filters"]["finding"]["refused_real"]["count"] == 24  # and so it says that it is a poor filter


class Constant:
    """A reader of fixed probabilities."""

    def __init__(self, findings, views, values):
        self.findings, self.views, self.values = findings, views, np.array(values)
        self.about = reader.About(1, tuple(findings), tuple(views), "", {}, None if findings or views else "nothing")

    def probabilities(self, pixels):
        return np.tile(self.values, (len(pixels), 1))[:, : len(self.findings) + len(self.views)]


def rows(*shown):
    asked = [dict(zip(("findings", "view"), row, strict=True)) for row in shown]
    return ImageSet(np.zeros((len(shown), 1, 4, 4), np.uint8), np.arange(len(shown)), asked, np.arange(len(shown)))


def test_only_what_was_asked_for_and_can_be_read_is_judged():
    images = rows(("A|B", "PA"), ("A", "AP"), ("B", ""), ("", "LATERAL"), ("C", "PA"))
    judge = Constant(["A", "B"], ["PA", "AP"], [0.6, 0.2, 0.9, 0.1])
    found = filters.misread(images, judge, Filters(finding=0.5, view=True))
    assert found["finding"].tolist() == [True, False, True, False, False]
    assert found["view"].tolist() == [False, True, False, False, False]
    # The least probability itself is enough.
    assert not filters.misread(images, judge, Filters(finding=0.2))["finding"].any()


@pytest.mark.parametrize(("findings", "views"), [([], []), ([], ["AP", "PA"]), (["A", "B"], [])])
def test_a_reader_that_tells_nothing_apart_refuses_nothing_and_says_so(findings, views):
    judge = Constant(findings, views, [0.9, 0.95] if findings else [0.1, 0.9])
    refused = filters.misread(rows(("A", "PA"), ("B", "PA")), judge, Filters(finding=0.5, view=True))
    assert not np.any(list(refused.values()))
    found = filters.by_filter(refused, refused, judge)
    for name, learnt in (("finding", findings), ("view", views)):
        assert (found[name]["refused"] is None) == (not learnt)
        assert (found[name]["reason"] is None) == bool(learnt)

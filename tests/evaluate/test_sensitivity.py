import csv
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest

from scansynth import sections
from scansynth.errors import ScansynthError
from scansynth.evaluate import damages, probe, reader, sensitivity
from scansynth.evaluate.damages import DAMAGES, Images
from scansynth.evaluate.panel import Gauge, Metric, OnceRead, Panel, Seen, of_labels, of_measures, of_texture
from scansynth.evaluate.responses import Response, draw, summary, table

STRENGTHS = (0.0, 1.0, 2.0, 4.0, 8.0)


def response(*changes, worse=1, spread=2.0, around=10.0):
    """One whose values, of three seeds, change by these spreads."""
    values = around + worse * spread * np.array(changes, dtype=float) + np.array([[-1.0], [0.0], [1.0]])
    return Response(STRENGTHS[: len(changes)], values, spread, worse)


@pytest.mark.parametrize("worse", [1, -1])
@pytest.mark.parametrize(
    ("changes", "verdict", "seen_from"),
    [
        ((0, 1, 3.1, 5, 9), "yes", 2),
        ((0, 4, 5, 6, 7), "yes", 1),
        ((0, 1, 2, 2.5, 2.9), "no", None),  # in order, and within what chance does
        ((0, 0, 0, 0, 0), "no", None),
        ((0, 9, 9, 8.5, 8.6), "yes", 1),  # as far as it goes, give or take a spread
        ((0, 4, 2, 5, 9), "yes", 4),  # one step back, in order but for it
        ((0, 20, 60, 20, 4), "unsteady", None),
        ((0, 2, 8, 2, 0), "unsteady", None),
        ((0, -1, -2, -4, -6), "wrong way", None),
        ((0, 5), "yes", 1),  # nothing could be measured of stronger damage
        ((0,), "no", None),
    ],
)
def test_verdicts_on_made_up_responses(changes, verdict, seen_from, worse):
    found = response(*changes, worse=worse)
    assert found.changes == pytest.approx(changes)
    assert found.verdict == verdict
    assert found.seen_from == seen_from


def test_correlation_is_of_ranks():
    assert response(0, 1, 10, 100, 1000).correlation == pytest.approx(1)
    assert response(0, 2, 1, 3, 4).correlation == pytest.approx(0.9)
    assert response(0, -1, -2, -3, -4).correlation == pytest.approx(-1)
    assert response(0, 0, 0, 0, 0).correlation == 0


def test_an_image_is_read_once_and_forgotten_with_its_branch():
    seen = []

    def brightness(pixels):
        seen.extend(pixels[:, 0, 0, 0].tolist())
        return pixels.mean((1, 2, 3))

    def of(*values):
        pixels = np.broadcast_to(np.array(values, np.uint8)[:, None, None, None], (len(values), 1, 4, 4))
        return Images(pixels, [{}] * len(values))

    read = OnceRead({"brightness": brightness})
    assert read(of(1, 2, 1)).readings["brightness"].tolist() == [1, 2, 1]
    branch = read.branch()
    assert branch(of(3, 2)).readings["brightness"].tolist() == [3, 2]
    read(of(2, 3))
    assert seen == [1, 2, 3, 3]


def test_divisions_keep_patients_apart_and_differ(toy_store):
    held_out = {i for i, row in enumerate(toy_store.table) if row["split"] != "train"}
    rows = [dict(row, patient=str(int(row["patient"]) // 3)) for row in toy_store.table]
    shared = type(toy_store)(toy_store.pixels, rows, toy_store.manifest)
    divisions = [sensitivity.divided(shared, 256, 0, number) for number in range(5)]
    for parts in divisions:
        assert set(np.concatenate(parts)) == held_out
        assert all(abs(len(part) - 40 / 3) <= 3 for part in parts)  # a third, to the images of a patient
        patients = [{rows[i]["patient"] for i in part} for part in parts]
        assert not (patients[0] & patients[1] or patients[1] & patients[2] or patients[0] & patients[2])
    assert len({parts[0].tobytes() for parts in divisions}) == 5
    again = sensitivity.divided(shared, 256, 0, 3)
    assert all((one == other).all() for one, other in zip(again, divisions[3], strict=True))
    assert max(map(len, sensitivity.divided(shared, 10, 0, 0))) <= 12


def test_too_few_held_out_images_are_refused(toy_store):
    few = type(toy_store)(toy_store.pixels, [dict(row, patient="one") for row in toy_store.table], toy_store.manifest)
    with pytest.raises(ScansynthError, match="40 images of 1 patients are held out"):
        sensitivity.divided(few, 256, 0, 0)


def bright_panel():
    """Brightness beside the reference's, brightness at the left of each image, and what never changes."""

    def levels(pixels):
        return np.stack([pixels.mean((1, 2, 3)), pixels[..., :32].mean((1, 2, 3))], axis=1)

    def take(seen, reference):
        (whole, left), (real, _) = (each.readings["levels"].mean(0) for each in (seen, reference))
        return abs(whole - real), left, 1.0

    metrics = Metric("brightness", 1), Metric("left", -1, alone=True), Metric("constant", 1)
    return Panel((Gauge(metrics, take, {"levels": levels}),))


def dark_store(toy_store):
    """The toy with what is bright at the left of each image: mirrored, it is darker there."""
    pixels = toy_store.pixels.copy()
    pixels[0::2] = pixels[0::2, ..., ::-1]
    return type(toy_store)(pixels, toy_store.table, toy_store.manifest)


def test_a_study_of_what_is_known_is_the_same_again(toy_store, tmp_path, monkeypatch):
    chosen = [damage for damage in DAMAGES if damage.name in ("gamma", "mirrored", "labels", "channels")]
    monkeypatch.setattr(damages, "DAMAGES", chosen)
    store = dark_store(toy_store)
    found = sensitivity.study(store, bright_panel(), "chest", 256, 0)
    assert [damage.name for damage in found.damages] == ["gamma", "mirrored", "labels"]
    assert found.missing == ("constant",)
    assert sum(count["images"] for count in found.counts.values()) == len(store.table)
    assert all(count["images"] == count["patients"] for count in found.counts.values())
    verdicts = {key: response.verdict for key, response in found.responses.items()}
    assert verdicts == {
        ("gamma", "brightness"): "yes",
        ("gamma", "left"): "yes",
        ("mirrored", "brightness"): "no",
        ("mirrored", "left"): "yes",
        ("labels", "brightness"): "no",
        ("labels", "left"): "no",
    }

    words = summary(found)
    assert words["seen_by_no_metric"] == ["labels"]
    assert words["metrics"]["brightness"]["blind_to"] == ["mirrored", "labels"]
    assert words["damages"]["mirrored"]["not_seen_by"] == ["brightness"]
    assert list(words["damages"]["mirrored"]["seen_from"]) == ["left"]
    assert words["verdicts"][0].startswith("No metric sees: labels.")
    assert "brightness is blind to: mirrored, labels." in words["verdicts"]

    rows = list(csv.DictReader(io.StringIO(table(found))))
    assert len(rows) == 3 * 5 * 2
    assert all(float(row["low"]) <= float(row["value"]) <= float(row["high"]) for row in rows)
    assert {row["change"] for row in rows if row["strength"] == "0"} == {"0.0"}

    again = sensitivity.study(store, bright_panel(), "chest", 256, 0)
    assert table(again) == table(found)
    assert table(sensitivity.study(store, bright_panel(), "chest", 256, 1)) != table(found)
    for name, each in (("one.svg", found), ("other.svg", again)):
        draw(tmp_path / name, each)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()
    assert "upside down" not in (tmp_path / "one.svg").read_text()


def seen(pixels, rows, **readings):
    return Seen(Images(pixels, rows), readings)


def test_measures_are_compared_where_they_were_taken():
    def measure(pixels):
        values = pixels.mean((1, 2, 3))
        return {"level": np.where(values > 200, np.nan, values), "bright": (values > 100).astype(float)}

    meanings = {"level": "mean", "bright": "1 where it is bright; else 0"}
    gauge = of_measures(
        "toy", meanings, measure, lambda images: np.array([row["view"] != "LATERAL" for row in images.rows])
    )
    assert [(metric.name, metric.share) for metric in gauge.metrics] == [("toy: level", False), ("toy: bright", True)]

    def of(*values, lateral=()):
        pixels = np.broadcast_to(np.array(values, np.uint8)[:, None, None, None], (len(values), 1, 4, 4))
        rows = [{"view": "LATERAL" if i in lateral else "PA"} for i in range(len(values))]
        return seen(pixels, rows, toy=gauge.instruments["toy"](pixels))

    reference = of(90, 90, 90, 90, 90)
    assert list(gauge.take(of(95, 95, 95, 95, 95, 250), reference)) == pytest.approx([5, 1 / 6])
    assert list(gauge.take(of(95, 95, 95, 95, 95, 250, lateral=[5]), reference)) == pytest.approx([5, 0])
    assert np.isnan(gauge.take(of(250, 250, 250, 250, 95), reference)[0])


def test_texture_is_at_no_distance_from_itself(toy_store):
    gauge = of_texture()
    pixels = toy_store.pixels[:8]

    def of(pixels):
        return seen(pixels, [], **{name: each(pixels) for name, each in gauge.instruments.items()})

    assert gauge.take(of(pixels), of(pixels)) == (0, 0)
    levels, spectrum = gauge.take(of(pixels // 2), of(pixels))
    assert levels == pytest.approx(pixels.mean() / 2, abs=2)
    assert spectrum == pytest.approx(20 * np.log10(2), rel=0.1)


def test_labels_that_cannot_be_read_are_not_a_number():
    class Nothing:
        findings, views, probabilities, about = ["Nodule"], [], None, SimpleNamespace(no_finding="")

    rows = [{"findings": "Nodule" if i < 3 else "", "view": ""} for i in range(20)]
    found = of_labels(Nothing()).take(seen(None, rows, labels=np.zeros((20, 1))), None)
    assert np.isnan(found).all()


def test_the_stage_says_who_sees_what(toy_path, toy_store, tmp_path, monkeypatch):
    chosen = [damage for damage in DAMAGES if damage.name in ("blur", "copies", "labels")]
    monkeypatch.setattr(damages, "DAMAGES", chosen)
    monkeypatch.setattr(sensitivity, "DIVISIONS", 6)
    files = {"pixels": toy_path, "table": toy_path.with_suffix(".csv"), "manifest": toy_path.with_suffix(".json")}
    files |= {"weights": tmp_path / "probe.safetensors", "reader": tmp_path / "reader.safetensors"}
    probe.save(files["weights"], *probe.train(toy_store, sections.Probe(steps=5)))
    reader.save(files["reader"], reader.train(toy_store, sections.Reader(steps=40)))
    files |= {name: tmp_path / name for name in ("report.json", "responses.csv", "plot.svg")}
    dataset = {"title": "t", "layout": "nih", "licence": "l", "citation": "c", "address": "a"}
    settings = {"dataset": dataset, "extract": {}, "evaluate": {}, "memorization": {}, "anatomy": {}, "sensitivity": {}}
    options = [item for name, path in files.items() for item in (f"--{name.split('.')[0]}", str(path))]
    monkeypatch.chdir(tmp_path)
    sensitivity.main(["--settings", json.dumps(settings), *options])

    found = json.loads(files["report.json"].read_text())
    assert [*found["damages"]] == ["blur", "copies", "labels"]
    assert found["seen_by_no_metric"] == []
    assert "spectrum distance" in found["damages"]["blur"]["seen_from"]
    assert "copies of training images" in found["damages"]["copies"]["seen_from"]
    assert [*found["damages"]["labels"]["seen_from"]] == ["labels read (mean AUROC)"]
    assert found["verdicts"][0] == "At the strongest, every damage is seen by one metric at least."
    assert found["small"] is True
    assert sum(each["images"] for each in found["sets"].values()) == len(toy_store.table)
    names = {row["metric"] for row in csv.DictReader(files["responses.csv"].open())}
    assert names == set(found["metrics"])
    assert {"Frechet distance (probe)", "precision (radiomics)", "MS-SSIM of pairs"} <= names
    assert files["plot.svg"].read_text().startswith("<?xml")

"""The user's command: N images of a wished-for condition, marked as synthetic, the same bytes again."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydicom import dcmread

from scansynth import model, sample
from scansynth.conditions import vocabulary
from scansynth.files import read_json, sha256
from scansynth.sections import Diffusion, Network
from scansynth.store import open_store

NETWORK = Network(base_channels=32, multipliers=(1,), attention=(False,), wavelet_levels=2)
KNOWN = {"findings": ["Dark", "Bright"], "no_finding": "Dark", "views": ["PA", "AP"], "sexes": ["F"], "ages": [20, 60]}
ROWS = [
    {"findings": "Dark", "view": "PA", "sex": "F", "age": "20"},
    {"findings": "Bright", "view": "AP", "sex": "F", "age": "60"},
]


def trained(path, channels=("gray",), known=KNOWN):
    """A model of which no more is learnt than how often each label was seen."""
    torch.manual_seed(0)
    described = {
        "network": NETWORK.model_dump(mode="json"),
        "diffusion": {},
        "calibrate": {},
        "channels": list(channels),
        **known,
    }
    described["shape"] = [len(channels), 64, 64]
    denoiser = model.build(tuple(described["shape"]), vocabulary(known), NETWORK, Diffusion())
    denoiser.prior.centre.copy_(torch.from_numpy(vocabulary(known).encode(ROWS).mean(0)))
    torch.nn.init.normal_(denoiser.prior.effect, std=0.1)
    model.save(path, denoiser, described)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    trained(path)
    return path


@pytest.fixture
def call(weights, tmp_path):
    """Run the command; the folder that it wrote."""

    def run(folder, *words, path=weights, count=2):
        start = ["--model", str(path), "--folder", str(tmp_path / folder), "--count", str(count), "--steps", "2"]
        sample.main([*start, *words])
        return tmp_path / folder

    return run


def table(folder):
    return list(csv.DictReader((folder / "samples.csv").open(newline="")))


def contents(folder, suffix=""):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name.endswith(suffix)}


def test_pictures_table_and_record(call, weights):
    folder = call("a", "--findings", "Bright", "--age", "33", "--guidance", "2", count=3)
    rows = table(folder)
    assert [row["file"] for row in rows] == ["00000.png", "00001.png", "00002.png"]
    assert {(row["findings"], row["age"], row["sex"]) for row in rows} == {("Bright", "33", "F")}
    assert set(contents(folder)) == {*(row["file"] for row in rows), "samples.csv", "samples.record.json"}
    picture = Image.open(folder / "00001.png")
    assert (picture.mode, picture.size) == ("L", (64, 64))
    assert "Not an image of a patient" in picture.text["Description"] and "Bright" in picture.text["Description"]
    made_by = json.loads(picture.text["Source"])
    assert (made_by["model"], made_by["seed"], made_by["index"]) == (sha256(weights), 0, 1)
    record = read_json(folder / "samples.record.json")
    assert str(folder.parent) not in json.dumps(record) and str(weights.parent) not in json.dumps(record)
    assert record["inputs"]["model"]["sha256"] == sha256(weights)
    assert record["settings"]["sample"]["guidance"] == 2
    assert record["facts"]["asked"] == {"findings": "Bright", "age": "33"} and record["facts"]["seed"] == 0
    for name in (*(row["file"] for row in rows), "samples.csv"):
        assert sha256(folder / name) in [output["sha256"] for output in record["outputs"].values()]


@pytest.mark.parametrize("kind", ["png", "dicom"])
def test_the_same_bytes_again_however_many(call, kind):
    few, many = (contents(call(f"{count}", "--format", kind, count=count)) for count in (2, 18))
    images = [name for name in few if name.startswith("0")]
    assert len(images) == 2 and {name: few[name] for name in images} == {name: many[name] for name in images}
    other = contents(call("other", "--format", kind, "--seed", "1"))
    assert all(other[name] != few[name] for name in images)


def test_what_is_asked_for_matters(call):
    one, other = (contents(call(view, "--view", view, "--findings", "none"), ".png") for view in ("PA", "AP"))
    assert all(one[name] != other[name] for name in one)
    pixels = [np.asarray(Image.open(io.BytesIO(images["00000.png"]))) for images in (one, other)]
    assert (pixels[0] != pixels[1]).any()


def test_dicom_has_the_pixels_of_png(call):
    pictures, scans = call("png"), call("dicom", "--format", "dicom")
    for row in table(scans):
        scan = dcmread(scans / row["file"])
        picture = Image.open((pictures / row["file"]).with_suffix(".png"))
        np.testing.assert_array_equal(scan.pixel_array, np.asarray(picture))
        assert scan.SyntheticData == "YES" and scan.PatientSex == "F"
        assert json.loads(scan.private_block(0x0071, "SCANSYNTH")[1].value) == {k: row[k] for k in row if k != "file"}


@pytest.mark.parametrize("kind", ["png", "dicom"])
def test_colour_is_one_file_and_contrasts_are_several(call, tmp_path, kind):
    trained(tmp_path / "rgb.safetensors", ("red", "green", "blue"))
    trained(tmp_path / "mri.safetensors", ("t1", "t2"))
    colour = call("colour", "--format", kind, path=tmp_path / "rgb.safetensors", count=1)
    contrasts = call("mri", "--format", kind, path=tmp_path / "mri.safetensors", count=1)
    suffix = sample.SUFFIXES[kind]
    assert [row["file"] for row in table(colour)] == [f"00000{suffix}"]
    assert [row["file"] for row in table(contrasts)] == [f"00000_t1{suffix}", f"00000_t2{suffix}"]
    if kind == "png":
        assert Image.open(colour / "00000.png").mode == "RGB"
    else:
        first, second = (dcmread(contrasts / row["file"]) for row in table(contrasts))
        assert first.StudyInstanceUID == second.StudyInstanceUID and first.PatientID == second.PatientID
        assert first.SeriesInstanceUID != second.SeriesInstanceUID and first.SeriesDescription == "t1"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--findings", "Brigth"], "--findings 'Brigth': did you mean 'Bright'? the model knows: Dark, Bright"),
        (["--view", "LATERAL"], "--view 'LATERAL': the model knows: PA, AP"),
        (["--sex", "M"], "--sex 'M': the model knows: F"),
        (["--age", "90"], "--age 90: the model's training images are of 20 to 60 years"),
        (["--count", "0"], "count: Input should be greater than 0, found 0"),
        (["--count", "-3"], "count: Input should be greater than 0, found -3"),
        (["--steps", "0"], "steps: Input should be greater than 0, found 0"),
        (["--guidance", "-1"], "guidance: Input should be greater than or equal to 0"),
        (["--guidance", "inf"], "guidance: Input should be a finite number"),
        (["--seed", "-1"], "seed: Input should be greater than or equal to 0"),
        (["--model", "no.safetensors"], "--model no.safetensors: there is no such file"),
        (["--model", __file__], "not a model that scansynth trained"),
    ],
)
def test_bad_requests_are_messages(call, capsys, words, said):
    with pytest.raises(SystemExit) as end:
        call("bad", *words)
    assert end.value.code == 1
    assert said in capsys.readouterr().err


def test_nothing_is_written_over(call, capsys):
    before = contents(call("a"))
    with pytest.raises(SystemExit):
        folder = call("a", "--seed", "1")
    assert "it holds files (00000.png, ...): name a new one" in capsys.readouterr().err
    folder = call("b").with_name("a")
    assert contents(folder) == before


def test_a_folder_that_cannot_be_one(call, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    for folder in ("file", "file/below"):
        with pytest.raises(SystemExit):
            call(folder)
        assert f"{folder}: cannot be written to (" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "x"


def test_an_interrupted_run_leaves_no_half_file(call, tmp_path, monkeypatch):
    whole = contents(call("whole", count=3), ".png")
    write, written = Path.write_bytes, []

    def interrupted(path, content):
        written.append(path)
        write(path, content[: len(content) // 2] if len(written) == 2 else content)
        if len(written) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        call("cut", count=3)
    assert contents(tmp_path / "cut") == {"00000.png": whole["00000.png"]}


def test_a_trained_model_knows_what_it_takes(tiny_store, monkeypatch, capsys):
    """The description that training writes is the one that the command reads."""
    from scansynth import train
    from scansynth.request import Learnt

    monkeypatch.chdir(tiny_store.parents[2])
    settings = {
        "network": NETWORK.model_dump(mode="json"),
        "diffusion": {},
        "train": {"steps": 2, "batch": 4},
    }
    options = ["--settings", json.dumps(settings), "--trained", "m.safetensors", "--metrics", "m.jsonl"]
    for name, suffix in (("pixels", ".npy"), ("table", ".csv"), ("manifest", ".json")):
        options += [f"--{name}", str(tiny_store.with_suffix(suffix))]
    train.main(options)
    with pytest.raises(SystemExit):
        sample.main(["--model", "m.safetensors", "--folder", "out", "--count", "1"])
    assert "not calibrated yet: take the model.safetensors beside it" in capsys.readouterr().err
    denoiser, description = model.load(Path("m.safetensors"))
    learnt = Learnt.of(description, denoiser.prior.centre.numpy(), Path("m.safetensors"))
    store = open_store(tiny_store)
    rows = [store.table[i] for i in store.indices("train")]
    for column in ("findings", "view", "sex"):
        for label, share in learnt.shares[column].items():
            assert share == pytest.approx(np.mean([row[column] == label for row in rows]), abs=1e-6)
    assert learnt.ages == (40, 40) and learnt.age == 40 and learnt.aged == pytest.approx(1)

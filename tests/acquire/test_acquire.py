import csv
import json
import os
import sys
import types
from pathlib import Path

import pytest

from scansynth.acquire.__main__ import main
from scansynth.files import read_json, sha256

DATASET = {
    "title": "test set",
    "layout": "nih",
    "findings": ["No Finding"],
    "no_finding": "No Finding",
    "views": ["PA"],
    "licence": "CC0",
    "citation": "Nobody, 2024",
    "address": "https://example.org",
}
RAW = Path("data/raw/t")


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def phantoms(monkeypatch):
    """A stand-in for the phantoms' generator: two small files that depend on the seed, and a count of calls."""
    calls = []

    def generate(folder: Path, *, count: int, seed: int, workers: int | None = None) -> None:
        calls.append((count, seed))
        (folder / "images").mkdir(parents=True)
        for i in range(count):
            (folder / "images" / f"{i:08}_000.dcm").write_text(f"{seed} {i}")
        (folder / "Data_Entry_2017_v2020.csv").write_text("Image Index\n")
        (folder / "truth.csv").write_text("not read by the layout")
        if seed == 13:
            raise KeyboardInterrupt

    module = types.ModuleType("scansynth.acquire.phantoms.chest")
    module.generate = generate
    package = types.ModuleType("scansynth.acquire.phantoms")
    package.chest = module
    monkeypatch.setitem(sys.modules, package.__name__, package)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls


def acquire(root: Path | str | None = None, phantom=None, **data) -> None:
    values = {"dataset": "t", "root": None if root is None else str(root), **data}
    settings = {"dataset": {**DATASET, "phantom": phantom}, "data": values}
    main(["--settings", json.dumps(settings), "--source", str(RAW / "source.json")])


def fail(capsys, *args, **data) -> str:
    with pytest.raises(SystemExit) as caught:
        acquire(*args, **data)
    assert caught.value.code == 1
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message


def supply(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    root.mkdir(exist_ok=True)
    return root


def listed() -> list[str]:
    with (RAW / "inventory.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    for row in rows:
        file = RAW / "files" / row["path"]
        assert (int(row["bytes"]), row["sha256"]) == (file.stat().st_size, sha256(file))
    return [row["path"] for row in rows]


def test_supplied_folder_is_linked_and_listed(tmp_path):
    read = [
        "Data_Entry_2017_v2020.csv",
        "images/a.dcm",
        "images/b.PNG",
        "images_001/images/c.jpg",
        "images_012/images/d.png",
    ]
    not_read = [
        "images_64/e.png",
        "images_1024/images/f.png",
        "images/._a.png",
        "images/notes.txt",
        "BBox_List_2017.csv",
    ]
    root = supply(tmp_path / "nih", *reversed(read), *not_read)
    acquire(root)
    assert (RAW / "files").is_symlink()
    assert (RAW / "files").resolve() == root.resolve()
    assert listed() == read
    source = read_json(RAW / "source.json")
    assert source["title"] == "test set"
    assert source["licence"] == "CC0"
    assert source["patients_are_real"] is True
    assert source["files"] == 5
    assert source["bytes"] == sum(map(len, read))
    assert source["inventory_sha256"] == sha256(RAW / "inventory.csv")
    assert "phantom" not in source
    for file in RAW.glob("*.*"):
        assert str(tmp_path) not in file.read_text()


def test_another_folder_takes_the_links_place_unless_it_will_not_do(tmp_path, capsys):
    first, second = (supply(tmp_path / name, f"images/{name}.png") for name in ("first", "second"))
    acquire(first)
    acquire(second)
    assert listed() == ["images/second.png"]
    fail(capsys, supply(tmp_path / "empty"))
    assert listed() == ["images/second.png"]
    assert (first / "images" / "first.png").exists()


def test_root_relative_to_the_working_folder():
    supply(Path("scans"), "images/a.png")
    acquire("scans")
    assert listed() == ["images/a.png"]


def test_data_set_put_where_it_belongs_stays():
    supply(RAW / "files", "images/a.png")
    acquire(RAW / "files")
    assert not (RAW / "files").is_symlink()
    assert listed() == ["images/a.png"]


def test_folder_is_never_replaced_by_a_link(tmp_path, capsys):
    supply(RAW / "files", "images/a.png")
    assert "move it away" in fail(capsys, supply(tmp_path / "other", "images/b.png"))
    assert (RAW / "files" / "images" / "a.png").exists()


def test_root_unset(capsys):
    message = fail(capsys)
    assert "data.root is not set" in message
    assert "--config '<experiment>={data: {root: /where/it/is}}'" in message


def test_root_that_is_not_there_or_a_file(tmp_path, capsys):
    assert "there is no such folder" in fail(capsys, tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    assert "it is a file" in fail(capsys, tmp_path / "file")


def test_folder_without_images(tmp_path, capsys):
    message = fail(capsys, supply(tmp_path / "empty"))
    assert f"{tmp_path / 'empty'}: no image found. It holds nothing" in message
    assert "images_001/images/" in message
    message = fail(capsys, supply(tmp_path / "other", "scans/a.png", "readme.txt"))
    assert "It holds readme.txt, scans/" in message


def test_file_that_cannot_be_read(tmp_path, capsys):
    root = supply(tmp_path / "nih", "images/a.png")
    (root / "images" / "b.png").symlink_to("nowhere")
    assert "b.png: cannot be read (No such file or directory)" in fail(capsys, root)


def test_phantoms_are_computed_and_listed(phantoms):
    acquire(phantom="chest", count=2, seed=5)
    assert phantoms == [(2, 5)]
    assert listed() == ["Data_Entry_2017_v2020.csv", "images/00000000_000.dcm", "images/00000001_000.dcm"]
    source = read_json(RAW / "source.json")
    assert source["phantom"] == {"count": 2, "seed": 5}
    assert source["patients_are_real"] is False
    assert sorted(path.name for path in RAW.iterdir()) == [
        "files",
        "inventory.csv",
        "source.json",
        "source.record.json",
    ]


def test_phantoms_replace_older_ones_only_when_they_are_all_there(phantoms):
    acquire(phantom="chest", count=3, seed=1)
    with pytest.raises(KeyboardInterrupt):
        acquire(phantom="chest", count=1, seed=13)
    assert len(listed()) == 4
    acquire(phantom="chest", count=1, seed=2)
    assert listed() == ["Data_Entry_2017_v2020.csv", "images/00000000_000.dcm"]
    assert not (RAW / ".files.partial").exists()


def test_phantoms_in_place_of_a_link_leave_the_linked_folder_alone(tmp_path, phantoms):
    root = supply(tmp_path / "nih", "images/a.png")
    acquire(root)
    acquire(phantom="chest", count=1)
    assert (root / "images" / "a.png").exists()
    assert not (RAW / "files").is_symlink()


def test_same_bytes_again(phantoms):
    acquire(phantom="chest", count=2)
    first = [(RAW / name).read_bytes() for name in ("inventory.csv", "source.json")]
    os.utime(RAW / "files" / "images" / "00000000_000.dcm", (0, 0))
    acquire(phantom="chest", count=2)
    assert first == [(RAW / name).read_bytes() for name in ("inventory.csv", "source.json")]

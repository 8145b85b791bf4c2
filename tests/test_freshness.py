"""What makes a result stale, in words, and how Snakemake is told: on records made by hand."""

import os

import pytest
import yaml

from scansynth import config, freshness
from scansynth.errors import ScansynthError
from scansynth.experiments import Experiments
from scansynth.files import read_json, sha256, write_json, write_text
from scansynth.remembered import Remembered

MADE, READ = "results/cxr/made.npy", "results/cxr/read.npy"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A working folder with two results of the stage ``gather``: one read, and one made of it."""
    monkeypatch.chdir(tmp_path)
    experiments = Experiments(tmp_path_config(tmp_path), {})
    settings = config.parse_settings("gather", experiments.settings("gather", "cxr"))
    now = freshness.Present("gather")
    for made, read in ((READ, {}), (MADE, {"read": READ})):
        write_text(tmp_path / made, made)
        record = {
            "stage": "gather",
            "inputs": {key: {"path": path, "sha256": sha256(tmp_path / path)} for key, path in read.items()},
            "outputs": {"samples": {"path": made, "sha256": sha256(tmp_path / made)}},
            "settings": freshness.recorded(settings),
            "digests": {"modules": now.modules, "rule": now.rule},
            "software": now.libraries,
        }
        write_json((tmp_path / made).with_suffix(".record.json"), record)
    return tmp_path


def tmp_path_config(folder):
    for part, values in (
        ("experiments/cxr.yaml", {"title": "t", "data": {"dataset": "chest"}}),
        ("datasets/chest.yaml", {"title": "t", "layout": "nih", "licence": "l", "citation": "c", "address": "a"}),
    ):
        write_text(folder / "config" / part, yaml.safe_dump(values))
    return folder / "config"


def stale(project, **overrides):
    return freshness.settle(Experiments(project / "config", {"cxr": overrides} if overrides else {}))


def change_record(project, name, change):
    path = (project / name).with_suffix(".record.json")
    record = read_json(path)
    change(record)
    write_json(path, record)


def test_nothing_has_changed(project):
    assert stale(project) == {}


def test_other_settings_are_named(project):
    found = stale(project, sample={"steps": 30, "seed": 1})
    assert set(found) == {MADE, READ, MADE.replace("npy", "record.json"), READ.replace("npy", "record.json")}
    assert found[MADE] == ["sample.seed was 0, is 1", "sample.steps was 16, is 30"]


def test_other_bytes_make_stale_what_is_made_of_them_too(project):
    (project / READ).write_text("other")
    found = stale(project)
    assert found[READ] == [f"{READ} is not the file that was made"]
    assert found[MADE] == [f"{READ} is not the file that was read"]


def test_a_result_of_another_store_is_stale_though_its_bytes_are_there(project):
    store = "data/images/chest_128.npy"
    write_text(project / store, "pixels")
    read = {"path": store, "sha256": sha256(project / store)}
    change_record(project, MADE, lambda record: record["inputs"].update(pixels=read))
    assert MADE not in stale(project)
    assert stale(project, images={"size": 64})[MADE][0] == f"{store} was read, data/images/chest_64.npy is wanted"
    assert MADE not in stale(project)


def test_other_code_is_named(project):
    change_record(project, MADE, lambda record: record["digests"]["modules"].update({"scansynth.gather": "0"}))
    assert stale(project)[MADE] == ["code changed: scansynth.gather"]


def test_another_version_is_named(project):
    change_record(project, MADE, lambda record: record["software"].update(torch="1.0"))
    (reason,) = stale(project)[MADE]
    assert reason.startswith("torch was 1.0, is ")


@pytest.mark.parametrize("root", [None, "typo", "empty"])
def test_a_supplied_folder_that_is_no_longer_named_makes_its_data_stale(project, root):
    for folder in ("scans", "empty"):
        (project / folder).mkdir()
    write_text(project / "scans/Data_Entry_2017_v2020.csv", "Image Index\n")
    raw = project / "data/raw/chest"
    raw.mkdir(parents=True)
    (raw / "files").symlink_to(project / "scans")
    write_text(raw / "inventory.csv", "path,bytes,sha256\n")
    write_json(raw / "source.json", {"inventory_sha256": sha256(raw / "inventory.csv")})
    hashed = Remembered("hashes", sha256)

    def reasons(root):
        named = Experiments(project / "config", {"cxr": {"data": {"root": root}}})
        return [reason for reason in freshness._raw(raw.relative_to(project), named, hashed) if "lead" in reason]

    assert reasons(str(project / "scans")) == []
    assert len(reasons(root and str(project / root))) == 1


def test_a_result_without_a_record_is_not_trusted(project):
    (project / MADE).with_suffix(".record.json").unlink()
    assert set(stale(project)) == {MADE}


@pytest.mark.parametrize("text", ["", "{", "{}", '{"stage": "gather"}'])
def test_a_record_that_is_not_whole_vouches_for_nothing(project, text):
    (project / MADE).with_suffix(".record.json").write_text(text)
    assert MADE in stale(project)


def test_a_missing_file_is_for_snakemake_to_miss(project):
    (project / READ).unlink()
    assert stale(project) == {}


def test_marks_come_and_go(project):
    def marks():
        return len(list((project / freshness.MARKS).iterdir()))

    stale(project, sample={"steps": 30})
    assert marks() == 4
    stale(project)
    assert marks() == 0


def test_dates_follow_the_order_of_making(project):
    for number, name in enumerate((MADE, READ)):  # the wrong way round
        for path in (project / name, (project / name).with_suffix(".record.json")):
            os.utime(path, (1000 + number, 1000 + number))
    stale(project)
    assert (project / MADE).stat().st_mtime >= (project / READ).stat().st_mtime == 1001


def test_a_link_into_dvcs_cache_is_refused(project):
    (project / "cached").write_bytes((project / MADE).read_bytes())
    (project / MADE).unlink()
    (project / MADE).hardlink_to(project / "cached")
    assert stale(project) == {}
    (project / ".dvc").mkdir()
    with pytest.raises(ScansynthError, match=f"{MADE} is a link into DVC's cache.*reflink,copy"):
        stale(project)


def test_makers_come_first():
    def result(path, made, *read):
        files = {name: {"path": name, "sha256": ""} for name in (made, *read)}
        return freshness.Result(path, {"inputs": {name: files[name] for name in read}, "outputs": {made: files[made]}})

    chain = [result("c", "3", "2"), result("a", "1", "0"), result("b", "2", "1", "0")]
    assert [each.path for each in freshness.in_order(chain)] == ["a", "b", "c"]


def test_what_is_remembered_is_forgotten_when_the_file_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("scansynth.remembered.SETTLED", -1)
    file, asked = tmp_path / "a", []

    def read(path):
        asked.append(path)
        return path.read_text()

    file.write_text("1")
    for _ in range(2):  # the second one knows what the first has saved
        remembered = Remembered("test", read)
        assert [remembered(file), remembered(file)] == ["1", "1"]
        remembered.save()
    assert len(asked) == 1
    state = file.stat()
    file.write_text("2")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert Remembered("test", read)(file) == "2"

"""How a stage is run: its record, its errors, its lock."""

import errno
import json
import os
import shutil
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from scansynth import cores, files, stage
from scansynth.errors import ScansynthError
from scansynth.experiments import Experiments


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.txt").write_text("in")
    settings = json.dumps({"sample": {"count": 3}})
    return ["--settings", settings, "--model", "in.txt", "--samples", "out.npy"]


def run(work, arguments):
    stage.run("gather", work, inputs=("model",), outputs=("samples",), argv=arguments)


def test_record_says_what_was_used_and_made(arguments, tmp_path):
    def work(job):
        files.write_text(job.outputs["samples"], str(job.settings.sample.count))
        job.facts["seed"] = 5

    run(work, arguments)
    record = json.loads((tmp_path / "out.record.json").read_text())
    assert record["stage"] == "gather"
    assert record["inputs"]["model"] == {"path": "in.txt", "sha256": files.sha256(tmp_path / "in.txt")}
    assert record["outputs"]["samples"]["sha256"] == files.sha256(tmp_path / "out.npy")
    assert record["settings"]["sample"]["count"] == 3
    assert set(record["digests"]) == {"code", "modules", "rule", "settings"}
    assert record["facts"] == {"seed": 5}
    assert {"python", "torch", "numpy"} <= set(record["software"]) and "pydicom" not in record["software"]


def test_what_changes_during_the_work_is_not_blessed(arguments, tmp_path, monkeypatch, capsys):
    module = tmp_path / "code" / "scansynth" / "gather.py"
    module.parent.mkdir(parents=True)
    module.write_text("before = 1\n")
    monkeypatch.setattr(stage.digest, "PACKAGE", module.parent)
    before = stage.digest.of_modules("scansynth.gather")

    def work(job):
        module.write_text("after = 1\n")
        files.write_text(job.outputs["samples"], "")
        os.utime("in.txt")  # a date alone is no change

    run(work, arguments)
    record = json.loads((tmp_path / "out.record.json").read_text())
    assert record["digests"]["modules"] == before != stage.digest.of_modules("scansynth.gather")
    (tmp_path / "out.record.json").unlink()
    with pytest.raises(SystemExit):
        run(lambda job: (work(job), files.write_text(tmp_path / "in.txt", "other")), arguments)
    assert "in.txt was changed while it was read" in capsys.readouterr().err
    assert not (tmp_path / "out.record.json").exists()


def test_record_knows_nothing_of_host_user_or_folder(arguments, tmp_path):
    import getpass
    import socket

    run(lambda job: files.write_text(job.outputs["samples"], ""), arguments)
    text = (tmp_path / "out.record.json").read_text()
    for private in (socket.gethostname(), str(tmp_path), f'"{getpass.getuser()}"'):
        assert private not in text


def test_where_a_supplied_folder_lies_is_not_recorded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from pathlib import Path

    config = Path(__file__).parents[1] / "config"
    settings = Experiments(config, {"nih": {"data": {"root": "/secret/place"}}}).settings("acquire", "nih")
    work = lambda job: files.write_text(job.outputs["source"], "")  # noqa: E731
    stage.run("acquire", work, outputs=("source",), argv=["--settings", settings, "--source", "source.json"])
    assert "secret" not in (tmp_path / "source.record.json").read_text()


def test_an_error_of_the_users_is_a_message(arguments, capsys):
    def work(job):
        raise ScansynthError("scan.dcm: not DICOM: remove it")

    with pytest.raises(SystemExit) as end:
        run(work, arguments)
    assert end.value.code == 1
    assert "scansynth gather: scan.dcm: not DICOM: remove it" in capsys.readouterr().err


def test_a_full_disk_is_a_message(arguments, capsys):
    def work(job):
        raise OSError(errno.ENOSPC, "No space left on device", "out.npy")

    with pytest.raises(SystemExit):
        run(work, arguments)
    assert "the disk is full (writing out.npy)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "out.npy"), "out.npy: Permission denied"),
        (MemoryError("5 GB"), "out of memory (5 GB). Lower train.batch"),
        (torch.OutOfMemoryError("CUDA"), "out of memory (CUDA)"),
        (RuntimeError("CUDA error: out of memory"), "Lower train.batch"),
        (RuntimeError("MPS backend out of memory"), "Lower train.batch"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "Lower train.batch"),
    ],
)
def test_what_a_machine_lacks_is_a_message(arguments, capsys, error, said):
    def work(job):
        raise error

    with pytest.raises(SystemExit):
        run(work, arguments)
    assert said in capsys.readouterr().err


def test_what_a_killed_run_was_writing_is_swept(arguments, tmp_path):
    (tmp_path / ".out.4711.partial.npy").write_text("half")
    (tmp_path / ".out.5.4711.partial.npy").write_text("half")  # of out.5.npy, at which another job may be
    run(lambda job: files.write_text(job.outputs["samples"], ""), arguments)
    assert [path.name for path in tmp_path.glob(".out*")] == [".out.5.4711.partial.npy"]


def test_our_own_mistakes_keep_their_traceback(arguments):
    with pytest.raises(ZeroDivisionError):
        run(lambda job: 1 / 0, arguments)


def test_a_second_run_of_the_same_output_waits(tmp_path):
    script = textwrap.dedent("""
        import sys, time
        from scansynth import files, stage
        def work(job):
            print(time.time(), flush=True)
            time.sleep(1.0)
            files.write_text(job.outputs["samples"], "")
            print(time.time(), flush=True)
        stage.run("gather", work, outputs=("samples",))
    """)
    command = [sys.executable, "-c", script, "--settings", '{"sample": {}}', "--samples", "out.npy"]
    runs = [subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)]
    runs[0].stdout.readline()
    runs.append(subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    ended = float(runs[0].communicate()[0])
    started, _ = runs[1].communicate()[0].split()
    assert float(started) >= ended - 0.05
    assert time.time() - ended < 60


def test_atomic_write_leaves_nothing_behind_when_it_fails(tmp_path):
    target = tmp_path / "x.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), files.atomic(target) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("writer", ["numpy", "safetensors", "text"])
def test_a_full_disk_is_told_whoever_writes(tmp_path, writer):
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(tmp_path)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    write = {
        "numpy": lambda path: np.save(path, np.zeros(10**6)),
        "safetensors": lambda path: save_file({"a": torch.zeros(10**6)}, path),
        "text": lambda path: path.write_text("x" * 10**6),
    }[writer]
    try:
        with pytest.raises(OSError) as error, files.atomic(tmp_path / "x.npy") as partial:
            write(partial)
        assert error.value.errno == errno.ENOSPC
        assert error.value.filename == str(tmp_path / "x.npy")
        assert list(tmp_path.iterdir()) == []
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_atomic_files_can_be_read_by_others(tmp_path):
    with files.atomic(tmp_path / "x.safetensors") as partial:
        save_file({"a": torch.zeros(1)}, partial)
    assert (tmp_path / "x.safetensors").stat().st_mode & 0o777 == 0o666 & ~files.UMASK


def test_granted_cores(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert cores.granted() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    assert cores.granted() >= 1

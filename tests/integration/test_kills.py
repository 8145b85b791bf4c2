"""Runs that are killed, at random places of the code, and gone on with: the bytes are those of an undisturbed run.

The file is a program, too: it kills its own children, forked once torch has been imported, so that a kill costs less
than a second. A place is a number of function calls, drawn from a seed, so that a failure can be seen again.
"""

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

KILLS = 50
SETTINGS = {
    "network": {"base_channels": 32, "multipliers": [1], "attention": [False], "blocks": 1, "wavelet_levels": 2},
    "diffusion": {},
    "train": {
        **{"steps": 4, "batch": 4, "accumulate": 2, "warmup": 2, "checkpoint_every": 1, "validate_every": 2},
        **{"augmentation": 0.3, "ema": [0.05, 0.15]},
    },
    "calibrate": {"pilot": 64},
    "sample": {"count": 6, "steps": 2, "batch": 4},
}
STORE = {
    "pixels": "data/images/blobs_64.npy",
    "table": "data/images/blobs_64.csv",
    "manifest": "data/images/blobs_64.json",
}
RESULTS = ("trained.safetensors", "train.jsonl", "model.safetensors", "samples.npy")


def train_arguments(folder, **options):
    settings = {key: SETTINGS[key] for key in ("network", "diffusion", "train")}
    settings["train"] = settings["train"] | options
    files = STORE | {"trained": f"{folder}/trained.safetensors", "metrics": f"{folder}/train.jsonl"}
    return arguments(settings, files)


def calibrate_arguments(folder):
    files = STORE | {"trained": f"{folder}/trained.safetensors", "model": f"{folder}/model.safetensors"}
    return arguments({"calibrate": SETTINGS["calibrate"]}, files)


def sample_arguments(folder):
    files = {"model": f"{folder}/model.safetensors", "table": STORE["table"]}
    files |= {"samples": f"{folder}/samples.npy"}
    return [*arguments({"sample": SETTINGS["sample"]}, files), "--shard", "1-of-1"]


def arguments(settings, files):
    return [
        "--settings",
        json.dumps(settings),
        *itertools.chain(*((f"--{name}", path) for name, path in files.items())),
    ]


def results(folder):
    return {name: (Path(folder) / name).read_bytes() for name in RESULTS if (Path(folder) / name).exists()}


def child(stage, words, place=None, torn=None):
    """Run a stage in a child; its status, and the calls that it made.

    It is killed at its ``place``-th call or, if ``torn`` is a share, having written so much of a state or a model.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        calls = itertools.count(1)

        def count(_frame, _event, _argument):
            if next(calls) == place:
                os.kill(os.getpid(), signal.SIGKILL)

        with contextlib.suppress(BaseException):
            if torn is not None:
                tear(torn)
            sys.setprofile(count)
            stage.main(words)
            sys.setprofile(None)
            os.write(writing, str(next(calls)).encode())
            os._exit(0)
        os._exit(1)
    os.close(writing)
    _, status = os.waitpid(pid, 0)
    with open(reading, "rb") as pipe:  # noqa: PTH123
        told = pipe.read()
    return os.waitstatus_to_exitcode(status), int(told or 0)


def tear(share):
    """Let the next file of tensors be written up to ``share`` of its length, and die."""
    from scansynth import model
    from scansynth.training import state

    def torn(tensors, path, metadata):
        from safetensors.torch import save_file

        save_file(tensors, path, metadata=metadata)
        os.truncate(path, int(share * path.stat().st_size))
        os.kill(os.getpid(), signal.SIGKILL)

    model.save_file = state.save_file = torn


def kill_and_compare(kills, seed):
    """Kill ``kills`` times, going on each time; the number of runs that were finished and compared."""
    import torch

    from scansynth import calibrate, digest, rules, synthesise, train

    torch.set_num_threads(1)
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])  # imports much that each child would
    for stage in ("train", "calibrate", "synthesise"):
        digest.of_code(f"scansynth.{stage}")
        rules.of_rules(f"scansynth.{stage}")
    random = np.random.default_rng(seed)
    stages = [(train, train_arguments), (calibrate, calibrate_arguments), (synthesise, sample_arguments)]
    whole = [child(stage, words("whole")) for stage, words in stages]
    assert [status for status, _ in whole] == [0, 0, 0]
    calls = [count for _, count in whole]
    killed, finished, number = dict.fromkeys(("train", "calibrate", "sample", "torn"), 0), 0, 0
    while sum(killed.values()) < kills or number:
        stage, words = stages[number]
        torn = random.random() if number == 0 and random.random() < 0.25 else None
        # Every second time a stage is left to end, as what draws samples has no state to go on from.
        place = int(random.integers(1, 2 * calls[number])) if torn is None else None
        if sum(killed.values()) >= kills:
            torn = place = None
        status, _ = child(stage, words("cut"), place, torn)
        assert status in (0, -signal.SIGKILL), status
        if status:
            killed["torn" if torn is not None else ("train", "calibrate", "sample")[number]] += 1
            continue
        number = (number + 1) % 3
        if number == 0:
            assert results("cut") == results("whole")
            shutil.rmtree("cut")
            finished += 1
    print(json.dumps(killed | {"finished": finished}))


@pytest.fixture
def environment(tiny_store, monkeypatch):
    """That of a process of one thread; beside it, in the working folder, the tiny store's images at 16 x 16 pixels."""
    monkeypatch.chdir(tiny_store.parents[2])
    np.save(tiny_store, np.load(tiny_store)[:, :, ::4, ::4])
    return os.environ | {"OMP_NUM_THREADS": "1"}


def test_fifty_kills_change_no_byte(environment):
    done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    counts = json.loads(done.stdout.splitlines()[-1])
    assert sum(count for name, count in counts.items() if name != "finished") >= KILLS
    assert min(counts.values()) >= 3, counts


def command(*words, folder, **options):
    return [*words, "-m", "scansynth.train", *train_arguments(folder, **options)]


def test_two_processes_make_the_model_of_one(environment):
    torchrun = (
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--rdzv-backend",
        "c10d",
        "--rdzv-conf",
        "store_type=file",
    )
    two = subprocess.Popen(
        command(*torchrun, "--nproc-per-node", "2", folder="two"),
        env=environment | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    one = subprocess.run(command(sys.executable, folder="one"), env=environment, capture_output=True, text=True)
    assert one.returncode == 0, one.stderr
    _, said = two.communicate()
    assert two.returncode == 0, said
    assert results("two") == results("one") and len(results("one")) == 2
    assert json.loads(Path("two/trained.record.json").read_text())["facts"]["processes"] == 2


def test_sigterm_ends_a_slice_that_the_same_command_goes_on_from(environment):
    words = command(sys.executable, folder="cut", steps=40)
    process = subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(Path("cut").glob("work/*/state.safetensors")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.terminate()
    _, said = process.communicate()
    assert process.returncode == 75, said
    assert "SIGTERM: stopped after step" in said and "the same command goes on" in said
    again = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert again.returncode == 0 and "resumed after step" in again.stderr, again.stderr
    whole = subprocess.run(command(sys.executable, folder="whole", steps=40), env=environment, capture_output=True)
    assert whole.returncode == 0
    assert results("cut") == results("whole")


if __name__ == "__main__":
    kill_and_compare(KILLS, seed=0)

"""Gathering shards: all of them, and without torch."""

import subprocess
import sys

import numpy as np
import pytest

from scansynth import digest, gather, shards
from scansynth.errors import ScansynthError
from scansynth.files import write_json


def test_shards_that_are_not_all_are_refused(tmp_path, capsys):
    model, table, shard = (tmp_path / name for name in ("model.safetensors", "table.csv", "1-of-2.npy"))
    model.touch()
    table.write_text("split,findings,view,sex,age\ntrain,A,PA,F,40\n")
    np.save(shard, np.zeros((4, 1, 8, 8), np.uint8))
    files = {"model": model, "table": table, "samples": tmp_path / "s.npy", "conditions": tmp_path / "s.csv"}
    words = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    with pytest.raises(SystemExit):
        gather.main(["--settings", '{"sample": {"count": 10}}', *words, "--shards", str(shard)])
    assert "--shards have 4 images, but sample.count is 10" in capsys.readouterr().err
    assert not files["samples"].exists()


def test_gathering_takes_no_torch():
    script = "import sys, scansynth.gather, scansynth.evaluate.features; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_a_shard_of_other_code_is_refused(tmp_path):
    record = {
        "stage": "gather",
        "facts": {},
        "digests": {"code": "c", "modules": digest.of_modules("scansynth.gather")},
    }
    write_json(tmp_path / "a.record.json", record)
    assert shards.facts([tmp_path / "a.npy"]) == {"shard_code": "c"}
    record["digests"]["modules"]["scansynth.gather"] = "other"
    write_json(tmp_path / "a.record.json", record)
    with pytest.raises(ScansynthError, match=r"a\.npy was made by other code"):
        shards.facts([tmp_path / "a.npy"])

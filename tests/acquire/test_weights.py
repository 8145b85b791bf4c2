"""The published weights are fetched whole, or the error says how to do without."""

import hashlib
import importlib.util
import sys
from pathlib import Path

import pytest

from scansynth.acquire import weights

_SPEC = importlib.util.spec_from_file_location("faulty_server", Path(__file__).with_name("server.py"))
faulty = sys.modules["faulty_server"] = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(faulty)

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with faulty.Server() as server:
        monkeypatch.setattr(weights, "ADDRESS", server.serve("/weights.pth", CONTENT))
        monkeypatch.setattr(weights, "BYTES", len(CONTENT))
        monkeypatch.setattr(weights, "SHA256", hashlib.sha256(CONTENT).hexdigest())
        yield server


def test_weights_are_fetched_and_checked(server, tmp_path):
    weights.main(["--settings", "{}", "--weights", "data/weights/inception.pth"])
    assert (tmp_path / "data/weights/inception.pth").read_bytes() == CONTENT


def test_other_bytes_are_refused_with_the_way_out(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(weights, "SHA256", "0" * 64)
    with pytest.raises(SystemExit):
        weights.main(["--settings", "{}", "--weights", "data/weights/inception.pth"])
    said = capsys.readouterr().err
    assert "extract.inception" in said and "leave inception out of extract.extractors" in said
    assert not (tmp_path / "data/weights/inception.pth").exists()

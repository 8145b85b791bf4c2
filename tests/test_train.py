"""Training: it learns, and neither a kill nor a resumption changes a byte."""

import json

import numpy as np
import pytest
import torch

from scansynth import files, model, train
from scansynth.config import Settings
from scansynth.errors import ScansynthError
from scansynth.store import open_store

NETWORK = {"base_channels": 32, "multipliers": [1, 1], "attention": [False, False], "haar_levels": 2}


def settings(**options):
    options = {"steps": 12, "batch": 4, "warmup": 2, "checkpoint_every": 5, "validate_every": 4} | options
    return {"network": NETWORK, "diffusion": {}, "train": options}


def trainer(path, **options):
    return train.Trainer(open_store(path), Settings.model_validate(settings(**options)))


def run(path, folder, monkeypatch, **options):
    monkeypatch.chdir(path.parents[2])
    arguments = ["--settings", json.dumps(settings(**options))]
    for name, suffix in (("pixels", ".npy"), ("table", ".csv"), ("manifest", ".json")):
        arguments += [f"--{name}", str(path.with_suffix(suffix))]
    arguments += ["--model", f"{folder}/model.safetensors", "--metrics", f"{folder}/train.jsonl"]
    train.main(arguments)
    return files.sha256(path.parents[2] / folder / "model.safetensors")


def rows(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_validation_loss_falls(tiny_store):
    run = trainer(tiny_store, steps=60, learning_rate=3e-3)
    before = run.validate()
    for _ in range(60):
        run.advance()
    # The network starts as the Gaussian prior; what is left to learn is what blobs have beyond a Gaussian.
    assert run.validate() < 0.95 * before


@pytest.mark.parametrize("killed_after", [3, 5, 8])
def test_a_killed_run_resumes_to_the_same_bytes(tiny_store, monkeypatch, killed_after):
    whole = run(tiny_store, "whole", monkeypatch)
    advance = train.Trainer.advance

    def killed(self):
        if self.step == killed_after:
            raise KeyboardInterrupt
        return advance(self)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train.Trainer, "advance", killed)
        run(tiny_store, "cut", patch)
    assert not (tiny_store.parents[2] / "cut" / "model.safetensors").exists()
    assert run(tiny_store, "cut", monkeypatch) == whole
    folder = tiny_store.parents[2]
    assert (folder / "cut" / "train.jsonl").read_bytes() == (folder / "whole" / "train.jsonl").read_bytes()
    assert [row["step"] for row in rows(folder / "cut" / "train.jsonl")] == list(range(1, 13))


def test_dropout_resumes_to_the_same_bytes(tiny_store, tmp_path, monkeypatch):
    monkeypatch.setitem(NETWORK, "dropout", 0.2)
    whole, cut = trainer(tiny_store), trainer(tiny_store)
    for run in (whole, cut):
        for _ in range(3):
            run.advance()
    cut.save(tmp_path / "state.safetensors")
    again = trainer(tiny_store)
    torch.rand(5)
    again.resume(tmp_path / "state.safetensors")
    for run in (whole, again):
        run.advance()
    for name, value in whole.denoiser.state_dict().items():
        assert torch.equal(value, again.denoiser.state_dict()[name]), name


def test_no_run_resumes_another(tiny_store, monkeypatch):
    first = run(tiny_store, "one", monkeypatch)
    assert run(tiny_store, "one", monkeypatch, learning_rate=5e-4) != first
    assert run(tiny_store, "one", monkeypatch) == first


def test_a_gradient_that_is_not_finite_stops_at_the_step_and_keeps_the_weights(tiny_store):
    run = trainer(tiny_store)
    run.advance()
    before = {name: value.clone() for name, value in run.denoiser.state_dict().items()}
    run.train = run.train.copy()
    run.images = lambda indices: torch.full((len(indices), 1, 64, 64), torch.nan)
    with pytest.raises(ScansynthError, match="not finite at step 2"):
        run.advance()
    assert all(torch.equal(before[name], value) for name, value in run.denoiser.state_dict().items())


def test_every_epoch_shows_every_image_once():
    shown = np.concatenate([train.order(10, 0, start, 4) for start in range(0, 40, 4)])
    for epoch in np.split(shown, 4):
        assert sorted(epoch) == list(range(10))
    assert not (shown[:10] == shown[10:20]).all()
    np.testing.assert_array_equal(train.order(10, 0, 3, 8), shown[3:11])


def test_learning_rate_warms_up_and_decays():
    rates = [train.schedule(step, 100, 10) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == 1
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.01


def test_model_file_holds_all_that_sampling_needs(tiny_store, monkeypatch):
    run(tiny_store, "one", monkeypatch)
    denoiser, description = model.load(tiny_store.parents[2] / "one" / "model.safetensors")
    assert denoiser.shape == (1, 64, 64)
    assert model.vocabulary(description) == model.Vocabulary(["Dark", "Bright"], ["PA", "AP"])
    assert float(denoiser.prior.mean.abs().max()) > 0.1


def test_not_a_model(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"no")
    with pytest.raises(ScansynthError, match="not a model"):
        model.load(tmp_path / "x.safetensors")


def test_too_few_patients(tiny_store):
    table = tiny_store.with_suffix(".csv")
    table.write_text(table.read_text().replace(",val,", ",test,"))
    with pytest.raises(ScansynthError, match="the val split has 0 images"):
        trainer(tiny_store)

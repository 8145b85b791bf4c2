"""Training: it learns, and neither a kill nor a resumption nor how a step is shared changes a byte."""

import json
import os
import signal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from scansynth import files, model, train
from scansynth.config import Settings
from scansynth.device import resolve_compile
from scansynth.errors import ScansynthError
from scansynth.store import open_store
from scansynth.training import batches, state
from scansynth.training.parallel import Group, tree_sum
from scansynth.training.schedule import schedule
from scansynth.training.slices import STATUS, Slice
from scansynth.training.trainer import Trainer

NETWORK = {"base_channels": 32, "multipliers": [1], "attention": [False], "blocks": 1, "wavelet_levels": 2}


@pytest.fixture
def small_store(tiny_store):
    """The tiny store's images at 16 x 16 pixels."""
    np.save(tiny_store, np.load(tiny_store)[:, :, ::4, ::4])
    return tiny_store


def settings(diffusion=None, **options):
    options = {"steps": 8, "batch": 4, "warmup": 2, "checkpoint_every": 3, "validate_every": 4} | options
    return {"network": NETWORK, "diffusion": diffusion or {}, "train": options}


def trainer(path, group=None, **options):
    made = Trainer(open_store(path), Settings.model_validate(settings(**options)), group)
    made.begin()
    return made


def run(path, folder, monkeypatch, **options):
    monkeypatch.chdir(path.parents[2])
    arguments = ["--settings", json.dumps(settings(**options))]
    for name, suffix in (("pixels", ".npy"), ("table", ".csv"), ("manifest", ".json")):
        arguments += [f"--{name}", str(path.with_suffix(suffix))]
    arguments += ["--trained", f"{folder}/trained.safetensors", "--metrics", f"{folder}/train.jsonl"]
    train.main(arguments)
    return files.sha256(path.parents[2] / folder / "trained.safetensors")


def rows(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def weights(trainer):
    return {name: value.clone() for name, value in trainer.denoiser.state_dict().items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def on_step(monkeypatch, step, act):
    """Do ``act`` at the beginning of the step after ``step``."""
    advance = Trainer.advance

    def acting(self):
        if self.step == step:
            act()
        return advance(self)

    monkeypatch.setattr(Trainer, "advance", acting)


def test_validation_loss_falls(tiny_store):
    # The network starts as the Gaussian prior; what is left to learn is what blobs have beyond a Gaussian, which is not
    # in their fine grain.
    run = trainer(tiny_store, steps=90, ema=[0.1], diffusion={"log_snr_min": -3, "log_snr_max": 3})
    average = run.averages[0.1]
    before = run.validation_loss(average)
    for _ in range(90):
        run.advance()
    assert run.validation_loss(average) < 0.95 * before


@pytest.mark.parametrize("killed_after", [2, 3, 7])
def test_a_killed_run_resumes_to_the_same_bytes(small_store, monkeypatch, killed_after):
    whole = run(small_store, "whole", monkeypatch)

    def kill():
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        on_step(patch, killed_after, kill)
        run(small_store, "cut", patch)
    assert not (small_store.parents[2] / "cut" / "trained.safetensors").exists()
    assert run(small_store, "cut", monkeypatch) == whole
    folder = small_store.parents[2]
    assert (folder / "cut" / "train.jsonl").read_bytes() == (folder / "whole" / "train.jsonl").read_bytes()
    assert [row["step"] for row in rows(folder / "cut" / "train.jsonl")] == list(range(1, 9))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_slice_after_the_step_in_progress(small_store, monkeypatch, capsys, number):
    whole = run(small_store, "whole", monkeypatch)
    handler = signal.getsignal(number)
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as end:
        on_step(patch, 4, lambda: os.kill(os.getpid(), number))
        run(small_store, "cut", patch)
    assert end.value.code == STATUS == 75
    said = capsys.readouterr().err
    assert f"{signal.Signals(number).name}: stopped after step 5 of 8" in said and "the same command goes on" in said
    assert signal.getsignal(number) is handler
    assert run(small_store, "cut", monkeypatch) == whole
    assert "resumed after step 5 of 8" in capsys.readouterr().err


def test_a_time_budget_ends_the_slice_after_a_step(small_store, monkeypatch):
    whole = run(small_store, "whole", monkeypatch, steps=3)
    with monkeypatch.context() as patch:
        patch.setenv("SCANSYNTH_SLICE_MINUTES", "1e-4")
        for _ in range(2):
            with pytest.raises(SystemExit) as end:
                run(small_store, "cut", patch, steps=3)
            assert end.value.code == STATUS
        assert run(small_store, "cut", patch, steps=3) == whole  # the last step is no reason to stop


@pytest.mark.parametrize("minutes", ["soon", "0", "-3", "nan"])
def test_a_time_budget_that_is_none(monkeypatch, minutes):
    monkeypatch.setenv("SCANSYNTH_SLICE_MINUTES", minutes)
    with pytest.raises(ScansynthError, match=f"SCANSYNTH_SLICE_MINUTES is '{minutes}'"):
        Slice()


def test_a_second_signal_acts_as_ever():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with Slice() as now, pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            assert now.over() == "SIGINT"
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_dropout_and_augmentation_resume_to_the_same_bytes(small_store, monkeypatch):
    monkeypatch.setitem(NETWORK, "dropout", 0.2)
    options = {"augmentation": 0.5, "accumulate": 2}
    whole, cut = trainer(small_store, **options), trainer(small_store, **options)
    for run in (whole, cut):
        for _ in range(3):
            run.advance()
    kept = {name: value.clone() for name, value in cut.tensors().items()}, cut.about()
    again = trainer(small_store, **options)
    torch.rand(5)
    again.resume(*kept)
    for run in (whole, again):
        run.advance()
    assert_same(whole.tensors(), again.tensors())


def test_no_run_resumes_another(small_store, monkeypatch):
    first = run(small_store, "one", monkeypatch)
    assert run(small_store, "one", monkeypatch, learning_rate=5e-4) != first
    assert run(small_store, "one", monkeypatch) == first


def test_a_gradient_that_is_not_finite_stops_the_run_and_keeps_the_state(small_store, monkeypatch, capsys):
    images = batches.images
    poisoned = []

    def poison():
        poisoned.append(True)

    def sometimes(store, indices):
        return images(store, indices) * (torch.nan if poisoned else 1)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(batches, "images", sometimes)
        on_step(patch, 5, poison)
        run(small_store, "cut", patch)
    assert end.value.code == 1
    assert "not finite at step 6: lower train.learning_rate" in capsys.readouterr().err
    (path,) = (small_store.parents[2] / "cut" / "work").glob("*/state.safetensors")
    tensors, about = state.load(path)
    undisturbed = trainer(small_store)
    while undisturbed.step < 5:
        undisturbed.advance()
        if undisturbed.step % 4 == 0:
            undisturbed.validate()
    assert about == undisturbed.about()
    assert_same(tensors, undisturbed.tensors())


@pytest.mark.parametrize("damage", [(-7, b""), (-7, b"damaged"), (0, b"")])
def test_a_damaged_state_gives_way_to_the_one_before(tmp_path, capsys, damage):
    kept, end = damage
    path = tmp_path / "state.safetensors"
    assert state.load(path) is None
    state.save(path, {"a": torch.ones(9)}, {"step": 1})
    state.save(path, {"a": torch.zeros(9)}, {"step": 2})
    assert state.load(path)[1] == {"step": 2}
    path.write_bytes(path.read_bytes()[:kept] + end)
    tensors, about = state.load(path)
    assert about == {"step": 1} and torch.equal(tensors["a"], torch.ones(9))
    assert "state.safetensors is damaged" in capsys.readouterr().err
    state.before(path).write_bytes(b"")
    with pytest.raises(ScansynthError, match=r"no state of the run .* is whole"):
        state.load(path)


@pytest.mark.parametrize("at", ["save_file", "fsync", "replace"])
def test_a_state_that_is_not_written_to_the_end_leaves_the_one_before(tmp_path, monkeypatch, at):
    path = tmp_path / "state.safetensors"
    state.save(path, {"a": torch.ones(9)}, {"step": 1})

    def fail(*_arguments, **_options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        target = {"save_file": state, "fsync": os, "replace": type(path)}[at]
        patch.setattr(target, at, fail)
        state.save(path, {"a": torch.zeros(9)}, {"step": 2})
    assert state.load(path)[1] == {"step": 1}


@given(st.integers(0, 4), st.integers(0, 4), st.integers(0, 2**32))
@hypothesis_settings(max_examples=40, deadline=None)
def test_a_sum_by_blocks_is_the_sum_to_the_bit(parts, blocks, seed):
    parts, blocks = 2**parts, min(2**blocks, 2**parts)
    values = torch.randn(parts, 50, generator=torch.Generator().manual_seed(seed)) * 10 ** torch.arange(-4, 6).repeat(5)
    (whole,) = tree_sum([value] for value in values)
    shares = [Group(rank, blocks).block(parts) for rank in range(blocks)]
    assert [part for share in shares for part in share] == list(range(parts))
    (shared,) = tree_sum(tree_sum([values[part]] for part in share) for share in shares)
    assert torch.equal(whole, shared)
    torch.testing.assert_close(whole.double(), values.double().sum(0), rtol=0, atol=1e-5 * float(values.abs().max()))


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_processes_that_share_a_step_take_the_step_of_one(small_store, monkeypatch, dropout):
    monkeypatch.setitem(NETWORK, "dropout", dropout)
    options = {"batch": 8, "accumulate": 4, "augmentation": 0.3}
    alone = trainer(small_store, **options)
    shares = [trainer(small_store, Group(rank, 2), **options) for rank in range(2)]
    sums = []
    monkeypatch.setattr(Group, "sum", lambda self, values: values if self.size == 1 else tree_sum(sums))
    for _ in range(3):
        sums[:] = [tree_sum(share._gradients(part) for part in share.batches[share.step]) for share in shares]
        losses = [share.advance() for share in shares]
        assert losses == [alone.advance()] * 2
    assert_same(alone.tensors(), shares[0].tensors())
    assert_same(alone.tensors(), shares[1].tensors())


def test_parts_add_up_to_the_batch(small_store):
    whole, parts = (trainer(small_store, precision="fp32", accumulate=count) for count in (1, 4))
    sums = [tree_sum(run._gradients(part) for part in run.batches[0]) for run in (whole, parts)]
    assert len(parts.batches[0]) == 4
    for one, other in zip(*sums, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "size", "said"),
    [
        ({"batch": 6, "accumulate": 4}, 1, "train.batch is 6, and can't be cut into 4"),
        ({"batch": 6, "accumulate": 3}, 1, "train.accumulate is 3, and has to be a power of two"),
        ({"batch": 8, "accumulate": 4}, 3, "the number of processes is 3, and has to be a power of two"),
        ({"batch": 8, "accumulate": 2}, 4, "set train.accumulate to 4 or a larger power of two"),
    ],
)
def test_a_step_that_cannot_be_shared(small_store, options, size, said):
    with pytest.raises(ScansynthError, match=said):
        trainer(small_store, Group(0, size), **options)


def test_augmentation_is_told_and_needs_to_be_asked_for(small_store):
    plain, augmented = trainer(small_store), trainer(small_store, augmentation=1.0)
    assert plain.batches[0][0].tensors[-1] is None
    images, told = (augmented.batches[0][0].tensors[i] for i in (0, -1))
    assert (told[:, :2] == 1).all()
    assert images.shape == plain.batches[0][0].tensors[0].shape
    assert not torch.equal(images, plain.batches[0][0].tensors[0])
    assert augmented.advance() != plain.advance()


def test_every_epoch_shows_every_image_once():
    shown = np.concatenate([batches.order(10, 0, start, 4) for start in range(0, 40, 4)])
    for epoch in np.split(shown, 4):
        assert sorted(epoch) == list(range(10))
    assert not (shown[:10] == shown[10:20]).all()
    np.testing.assert_array_equal(batches.order(10, 0, 3, 8), shown[3:11])


def test_learning_rate_warms_up_and_decays():
    rates = [schedule(step, 100, 10) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == 1
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.01


def test_the_model_is_the_candidate_that_validation_likes_best(small_store, monkeypatch):
    run(small_store, "one", monkeypatch, validate_every=1, ema=[0.05, 0.2])
    folder = small_store.parents[2] / "one"
    record = files.read_json(folder / "trained.record.json")["facts"]
    late = [row for row in rows(folder / "train.jsonl") if row["step"] > 6]
    assert record["candidates"] == [
        {"ema": width, "step": row["step"], "val_loss": row[f"val_loss_{width}"]}
        for row in late
        for width in (0.05, 0.2)
    ]
    assert len(record["candidates"]) == 4
    assert record["chosen"]["val_loss"] == min(candidate["val_loss"] for candidate in record["candidates"])
    denoiser, description = model.load(folder / "trained.safetensors")
    assert description["chosen"] == record["chosen"]
    again = trainer(small_store, validate_every=1, ema=[0.05, 0.2])
    average = again.averages[record["chosen"]["ema"]]
    average.values = [value.detach().clone() for value in denoiser.parameters()]
    assert again.validation_loss(average) == record["chosen"]["val_loss"]


def test_an_early_candidate_is_kept_where_later_ones_are_worse(small_store, monkeypatch):
    run = trainer(small_store, steps=4, ema=[0.1])
    losses = iter([0.3, 0.1])
    monkeypatch.setattr(run, "validation_loss", lambda average: next(losses))
    for _ in range(4):
        run.advance()
    run.validate()
    kept = [value.clone() for value in run.averages[0.1].values]
    assert run.best() == {"ema": 0.1, "step": 4, "val_loss": 0.3}
    run.advance()
    run.validate()
    assert run.best() == {"ema": 0.1, "step": 5, "val_loss": 0.1}
    chosen = [value.clone() for value in run.chosen]
    assert not all(torch.equal(*pair) for pair in zip(kept, chosen, strict=True))
    monkeypatch.setattr(run, "validation_loss", lambda average: 0.2)
    run.advance()
    run.validate()
    assert all(torch.equal(*pair) for pair in zip(run.result().parameters(), chosen, strict=True))


def test_model_file_holds_all_that_sampling_needs(small_store, monkeypatch):
    run(small_store, "one", monkeypatch)
    denoiser, description = model.load(small_store.parents[2] / "one" / "trained.safetensors")
    assert denoiser.shape == (1, 16, 16)
    assert model.vocabulary(description) == model.Vocabulary(["Dark", "Bright"], ["PA", "AP"], ["F"], [40, 40])
    assert float(denoiser.prior.mean.abs().max()) > 0.1


def test_too_few_patients(small_store):
    table = small_store.with_suffix(".csv")
    table.write_text(table.read_text().replace(",val,", ",test,"))
    with pytest.raises(ScansynthError, match="the val split has 0 images"):
        trainer(small_store)


def test_a_network_is_compiled_where_that_can_be():
    assert resolve_compile("on", torch.device("cpu"))
    assert not resolve_compile("off", torch.device("cuda"))
    assert not resolve_compile("auto", torch.device("cpu"))

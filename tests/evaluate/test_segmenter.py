import csv
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from scansynth.acquire.phantoms import chest as phantom
from scansynth.errors import ScansynthError
from scansynth.evaluate import segmenter
from scansynth.evaluate.anatomy.chest import HEART, LEFT_LUNG, RIGHT_LUNG, cardiothoracic_ratio
from scansynth.evaluate.phantom_films import Phantoms, render, truth, varied
from scansynth.sections import Images
from scansynth.sections import Segmenter as Settings

SHORT = Settings(count=12, steps=60, batch=4)
ON_64 = Images(size=64)


@pytest.fixture(scope="module", autouse=True)
def one_core():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # no worker processes, whose start costs more than they save here
        yield


@pytest.fixture(scope="module")
def phantoms():
    return render(segmenter.TRAINING, 12, ON_64)


@pytest.fixture(scope="module")
def trained(phantoms):
    return segmenter.Segmenter(segmenter.train(phantoms, SHORT), {"phantoms": 12})


def test_the_ratio_of_true_outlines_is_that_of_the_truth_table(tmp_path):
    phantom.generate(tmp_path, count=8, seed=3, workers=1)
    with (tmp_path / "truth.csv").open(newline="") as file:
        told = [row["cardiothoracic_ratio"] for row in csv.DictReader(file)]
    compared = 0
    for item, ratio in zip(phantom.plan(3, 8), told, strict=True):
        if not ratio:
            continue  # a lateral
        mask, known = truth(phantom.draw_case(3, item)[0])
        assert known == pytest.approx(float(ratio), abs=5e-5)
        assert cardiothoracic_ratio(mask[None])[0] == pytest.approx(known, abs=0.008)
        compared += 1
    assert compared > 3


def test_phantoms_come_as_an_experiment_prepares_them(phantoms):
    assert phantoms.pixels.shape == (12, 1, 64, 64) and phantoms.pixels.dtype == np.uint8
    assert phantoms.masks.shape == (12, 64, 64) and set(np.unique(phantoms.masks)) == {0, 1, 2, 3}
    assert np.abs(cardiothoracic_ratio(phantoms.masks) - phantoms.ratios).max() < 0.04
    for image, mask in zip(phantoms.pixels[:, 0], phantoms.masks, strict=True):
        columns = [np.nonzero(mask == structure)[1].mean() for structure in (RIGHT_LUNG, HEART, LEFT_LUNG)]
        assert columns == sorted(columns)
        # Effusions are part of a lung, so that the darkest part of it is compared.
        assert np.percentile(image[mask == RIGHT_LUNG], 20) < image[mask == HEART].mean()


def test_an_image_in_colour_gets_the_same_phantoms(phantoms):
    colour = render(segmenter.TRAINING, 2, Images(size=64, channels="rgb"))
    np.testing.assert_array_equal(colour.pixels, phantoms.pixels[:2])


def test_no_experiment_can_have_the_phantoms():
    most = Settings(seed=2**32 - 1).seed
    with pytest.raises(ValueError, match="less than"):
        Settings(seed=most + 1)
    assert most < segmenter.TRAINING
    assert segmenter.TRAINING + most < segmenter.TESTING
    # The key that a second word of the seed could be taken for is none of the streams' own.
    streams = [(5, key) for key in range(5)] + [(segmenter.TRAINING + 5,), (segmenter.TESTING + 5,)]
    states = {tuple(np.random.SeedSequence(stream).generate_state(4)) for stream in streams}
    assert len(states) == len(streams)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_variations_keep_shares_of_classes_and_sides(phantoms, seed):
    images, targets = segmenter.as_input(phantoms.pixels[:4]), segmenter.as_target(phantoms.masks[:4])
    films, shares = varied(images, targets, torch.Generator().manual_seed(seed))
    assert films.shape == images.shape and torch.isfinite(films).all()
    torch.testing.assert_close(shares.sum(1), torch.ones(4, 96, 96), atol=1e-4, rtol=0)
    assert shares.min() > -1e-4
    columns = torch.arange(96.0)
    for share in shares:
        if share[1:].sum() > 0:
            right, left = ((share[lung].sum(0) * columns).sum() / share[lung].sum() for lung in (RIGHT_LUNG, LEFT_LUNG))
            assert right < left


def test_it_learns_and_says_its_error(trained, phantoms):
    found = segmenter.errors(trained, phantoms, seed=0)
    untrained = segmenter.errors(segmenter.Segmenter(segmenter.Network(), {}), phantoms, seed=0)
    for name, least in (("dice_right_lung", 0.7), ("dice_left_lung", 0.7), ("dice_heart", 0.5)):
        assert found[name]["value"] > max(least, 2 * untrained[name]["value"])
        low, high = found[name]["interval"]
        assert low <= found[name]["value"] <= high


class Oracle:
    """Outlines the phantoms as they are."""

    def __init__(self, masks):
        self.masks = masks

    def outline(self, pixels):
        return self.masks


def test_the_error_of_true_outlines_is_none_and_that_of_no_outlines_is_all(phantoms):
    known = Phantoms(phantoms.pixels, phantoms.masks, cardiothoracic_ratio(phantoms.masks), phantoms.patients)
    right = {name: each["value"] for name, each in segmenter.errors(Oracle(known.masks), known, 0).items()}
    wrong = {name: each["value"] for name, each in segmenter.errors(Oracle(0 * known.masks), known, 0).items()}
    assert right["cardiothoracic_ratio_mean_absolute_error"] == 0
    assert wrong["cardiothoracic_ratio_mean_absolute_error"] == 1
    for structure in ("right_lung", "left_lung", "heart"):
        assert (right[f"dice_{structure}"], wrong[f"dice_{structure}"]) == (1, 0)


def test_same_weights_twice_and_the_global_generator_as_it_was(phantoms):
    state = torch.get_rng_state()
    once, twice = (segmenter.train(phantoms, Settings(steps=2, batch=2)).state_dict() for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(once[name], twice[name]) for name in once)


def test_outlines_have_the_images_own_size_and_do_not_depend_on_the_batch(trained, phantoms):
    whole = trained.outline(phantoms.pixels)
    assert whole.shape == (12, 64, 64) and whole.dtype == np.uint8
    np.testing.assert_array_equal(trained.outline(phantoms.pixels, batch=5), whole)
    np.testing.assert_array_equal(trained.outline(np.repeat(phantoms.pixels, 3, 1)), whole)
    assert trained.outline(np.zeros((2, 1, 256, 256), np.uint8)).shape == (2, 256, 256)
    assert trained.outline(np.zeros((0, 1, 64, 64), np.uint8)).shape == (0, 64, 64)


def test_each_structure_is_one_part_without_holes():
    mask = np.zeros((20, 20), np.uint8)
    mask[2:10, 2:10] = RIGHT_LUNG
    mask[5, 5] = 0  # a hole
    mask[15, 15] = RIGHT_LUNG  # a speck
    mask[12:18, 2:6] = HEART
    wanted = mask.copy()
    wanted[5, 5], wanted[15, 15] = RIGHT_LUNG, 0
    np.testing.assert_array_equal(segmenter.tidy(mask), wanted)


def test_loads_as_it_was_saved(trained, phantoms, tmp_path):
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    segmenter.save(first, trained)
    segmenter.save(second, trained)
    assert first.read_bytes() == second.read_bytes()
    loaded = segmenter.load(first)
    assert loaded.about == trained.about
    np.testing.assert_array_equal(loaded.outline(phantoms.pixels), trained.outline(phantoms.pixels))


def test_another_file_is_named(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"x": np.zeros(1)}, path)
    with pytest.raises(ScansynthError, match=r"other\.safetensors: not a segmenter"):
        segmenter.load(path)
    path.write_bytes(b"not safetensors at all")
    with pytest.raises(ScansynthError, match=r"other\.safetensors: not a segmenter"):
        segmenter.load(path)


def test_the_stage_writes_weights_and_its_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(segmenter, "HELD_OUT", 3)
    values = {"images": {"size": 64}, "segmenter": {"count": 3, "steps": 2, "batch": 2}}
    segmenter.main(["--settings", json.dumps(values), "--weights", "segmenter.safetensors"])
    with safe_open("segmenter.safetensors", framework="numpy") as file:
        about = json.loads(file.metadata()["segmenter"])
    facts = json.loads((tmp_path / "segmenter.record.json").read_text())["facts"]
    assert facts["held_out_error"] == about["held_out_error"]
    assert about["held_out"] == 3
    assert 0 <= about["held_out_error"]["cardiothoracic_ratio_mean_absolute_error"]["value"] <= 1

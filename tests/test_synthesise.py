"""Sampling: image i is a function of (seed, i) alone, and is what was asked for."""

import numpy as np
import pytest
import torch

from scansynth import synthesise
from scansynth.conditions import COLUMNS
from scansynth.diffusion.denoiser import Denoiser
from scansynth.diffusion.solvers import SOLVERS
from scansynth.sections import Diffusion, Network, Sample

NETWORK = Network(base_channels=32, multipliers=(1, 2), attention=(False, True), wavelet_levels=1)


@pytest.fixture(scope="module")
def denoiser():
    torch.manual_seed(0)
    denoiser = Denoiser(1, 64, 3, NETWORK, Diffusion()).eval()
    for parameter in denoiser.network.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.02)
    return denoiser


def images(denoiser, count=6, first=0, **options):
    options = Sample(**{"count": count, "steps": 4, "batch": 4} | options)
    conditions = np.eye(3, dtype=np.float32)[(first + np.arange(count)) % 3]
    return synthesise.synthesise(denoiser, conditions, np.roll(conditions, 1, axis=1), options)


@pytest.mark.parametrize(("solver", "bf16"), [*((name, False) for name in SOLVERS), ("dpm_solver_2m", True)])
def test_an_image_does_not_depend_on_how_many_are_made(denoiser, solver, bf16, monkeypatch):
    monkeypatch.setattr(denoiser, "bf16", bf16)
    options = Sample(count=7, steps=4, batch=4, solver=solver, guidance=2)
    conditions = np.eye(3, dtype=np.float32)[np.arange(7) % 3]
    many = synthesise.synthesise(denoiser, conditions, conditions[::-1], options)
    for count in (1, 3, 6):
        few = synthesise.synthesise(denoiser, conditions[:count], conditions[::-1][:count], options)
        np.testing.assert_array_equal(few, many[:count])


def test_a_run_of_batches_gives_its_part_of_the_images(denoiser):
    options = Sample(count=10, steps=4, batch=4, guidance=2)
    conditions = np.eye(3, dtype=np.float32)[np.arange(10) % 3]
    whole, part, none = (
        synthesise.synthesise(denoiser, conditions[rows], conditions[::-1][rows], options, first=rows.start)
        for rows in (slice(0, 10), slice(4, 10), slice(8, 8))
    )
    np.testing.assert_array_equal(part, whole[4:])
    assert len(none) == 0


def test_seed_and_condition_matter(denoiser):
    assert (images(denoiser, seed=1) != images(denoiser, seed=0)).any()
    assert (images(denoiser, first=1) != images(denoiser, first=0)).any()


def test_guidance_matters_and_one_is_none(denoiser):
    assert (images(denoiser, guidance=3.0) != images(denoiser)).any()


DESCRIBED = {"findings": ["None", "A", "B"], "no_finding": "None", "views": ["PA"], "sexes": [], "ages": []}


@pytest.mark.parametrize(
    ("no_finding", "findings", "expected"),
    [
        ("None", "A", [1, 0, 0, 1]),  # the same view, nothing found
        ("None", "A|B", [1, 0, 0, 1]),
        ("None", "None", [1, 0, 0, 1]),  # what is asked for itself: there is nothing to be led away from
        ("None", "", [0, 0, 0, 0]),  # nothing is said of findings: the null token
        ("", "A", [0, 0, 0, 0]),
        ("Unseen", "A", [0, 0, 0, 0]),
    ],
)
def test_guidance_leads_away_from_the_same_with_no_finding(no_finding, findings, expected):
    row = dict.fromkeys(COLUMNS, "") | {"findings": findings, "view": "PA"}
    shown, away = synthesise.wanted(DESCRIBED | {"no_finding": no_finding}, [row, row])
    np.testing.assert_array_equal(shown, [[float(name in findings) for name in ("None", "A", "B")] + [1]] * 2)
    np.testing.assert_array_equal(away, [expected] * 2)


def test_conditions_are_drawn_like_those_of_the_training_images():
    known = [{"findings": "A", "view": "PA", "sex": "F", "age": "40"}, dict.fromkeys(COLUMNS, "")]
    held_out = {"split": "test", "findings": "C", "view": "PA", "sex": "M", "age": "50"}
    table = [{"split": "train", **known[0]}] * 3 + [{"split": "train", **known[1]}] + [held_out] * 9
    drawn = synthesise.draw_conditions(table, 2000, seed=0)
    assert drawn[:10] == synthesise.draw_conditions(table, 10, seed=0)
    assert all(row in known for row in drawn)
    assert drawn.count(known[0]) / 2000 == pytest.approx(0.75, abs=0.04)


def test_to_uint8_clips_and_rounds():
    values = torch.tensor([-9.0, -1.0, 0.0, 1.0, 1.5])
    assert synthesise.to_uint8(values).tolist() == [0, 0, 128, 255, 255]

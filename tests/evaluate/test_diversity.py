import json
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchmetrics.image import MultiScaleStructuralSimilarityIndexMeasure

from scansynth.evaluate import diversity
from scansynth.evaluate.classifier import About, Classifier, as_input, save
from scansynth.evaluate.diversity import (
    BETAS,
    draw_pairs,
    ms_ssim,
    ms_ssim_pairs,
    perceptual_distance,
    perceptual_pairs,
    scales,
    verdicts,
)
from scansynth.evaluate.imagesets import SETS, ImageSet
from scansynth.files import read_json, sha256
from scansynth.sections import Evaluate

MANIFEST = {"dataset": "toy", "origin": "phantom"}
FEW = Evaluate(bootstrap=30)


def images(n, seed, channels=1, size=64):
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 200, (n, channels, size // 8, size // 8)).repeat(8, -1).repeat(8, -2)
    return (coarse + generator.integers(0, 55, coarse.shape)).astype(np.uint8)


def network(channels=1):
    torch.manual_seed(0)
    return Classifier(channels, 16, 2).eval()


@pytest.fixture(scope="module")
def probe_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("probe") / "probe.safetensors"
    save(path, network(), About(1, 16, "labels", ("a", "b"), None, None))
    return path


@pytest.mark.parametrize(("channels", "size"), [(1, 64), (3, 96), (1, 128)])
def test_identical_images_are_not_diverse(channels, size):
    pixels = images(3, 0, channels, size)
    np.testing.assert_allclose(ms_ssim(pixels, pixels), 1, atol=1e-6)
    np.testing.assert_array_equal(perceptual_distance(pixels, pixels, network(channels)), 0)


@pytest.mark.parametrize(("size", "count"), [(64, 3), (96, 3), (128, 4), (256, 5)])
def test_as_many_scales_as_torchmetrics_allows(size, count):
    betas = scales(size)
    assert len(betas) == count
    assert sum(betas) == pytest.approx(1)
    assert betas[1] / betas[0] == pytest.approx(BETAS[1] / BETAS[0])
    pixels = torch.rand(1, 1, size, size)
    MultiScaleStructuralSimilarityIndexMeasure(betas=betas)(pixels, pixels)
    if count < len(BETAS):
        with pytest.raises(ValueError, match="must be larger"):
            MultiScaleStructuralSimilarityIndexMeasure(betas=BETAS[: count + 1])(pixels, pixels)


def test_each_pair_has_the_published_value():
    """At 256 pixels with all five scales; each pair by itself, more of them than are computed at once."""
    first, second = (images(diversity.BATCH + 2, seed, size=256) for seed in (0, 1))
    second[:3] = np.clip(first[:3] * 0.8 + second[:3] * 0.2, 0, 255)
    found = ms_ssim(first, second)
    for i in (0, 1, 2, diversity.BATCH + 1):
        metric = MultiScaleStructuralSimilarityIndexMeasure(data_range=1.0)
        expected = metric(*(torch.from_numpy(each[i : i + 1]).float() / 255 for each in (first, second)))
        assert found[i] == pytest.approx(float(expected), abs=1e-5)
    assert found[:3].min() > 0.5 > found[3:].max()


def test_perceptual_distance_is_equation_1_of_lpips():
    probe, outputs = network(), []
    for module in probe.body[:12]:
        if isinstance(module, nn.SiLU):
            module.register_forward_hook(lambda _, __, output: outputs.append(output.detach().double().numpy()))
    first, second = images(1, 0), images(1, 1)
    with torch.inference_mode():
        for pixels in (first, second):
            probe(as_input(pixels))
    expected = 0
    for one, other in zip(outputs[:4], outputs[4:], strict=True):
        one, other = (each[0] / np.sqrt((each[0] ** 2).sum(0)) for each in (one, other))
        expected += ((one - other) ** 2).sum() / one[0].size
    assert perceptual_distance(first, second, network()) == pytest.approx([expected], rel=1e-4)


def test_perceptual_distance_grows_with_the_difference():
    pixels, other = images(4, 0), images(4, 1)
    mixed = [np.round(pixels * (1 - share) + other * share).astype(np.uint8) for share in (0.1, 0.3, 1)]
    distances = [perceptual_distance(pixels, each, network()).mean() for each in mixed]
    assert 0 < distances[0] < distances[1] < distances[2] <= 16


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from(["a", "b", None])), min_size=2, max_size=60),
    st.integers(1, 40),
    st.integers(0, 99),
)
def test_pairs_are_of_two_patients_and_one_condition_and_patients_have_one_partner(drawn, most, seed):
    groups, conditions = np.array([patient for patient, _ in drawn]), [condition for _, condition in drawn]
    pairs, couples = draw_pairs(groups, conditions, most, seed)
    assert len(pairs) == len(couples) <= most
    assert max(Counter(pairs.ravel().tolist()).values(), default=1) == 1
    partners = {}
    for (one, other), couple in zip(pairs, couples, strict=True):
        assert conditions[one] == conditions[other]
        assert groups[one] != groups[other]
        for here, there in ((one, other), (other, one)):
            assert partners.setdefault(groups[here], (groups[there], couple)) == (groups[there], couple)
    # One condition is left out only where one patient shows it, or those who do have partners already.
    unpartnered = [(condition, patient) for patient, condition in drawn if patient not in partners]
    if len(np.unique(couples)) < most:
        of_condition = Counter(condition for condition, _ in set(unpartnered))
        assert all(count == 1 for count in of_condition.values())


def test_as_many_pairs_as_asked_for_or_as_there_are():
    assert len(draw_pairs(np.arange(31), [None] * 31, 40, 0)[0]) == 15
    assert len(draw_pairs(np.arange(31), [None] * 31, 8, 0)[0]) == 8
    pairs, couples = draw_pairs(np.repeat(np.arange(6), 10), [None] * 60, 12, 0)
    assert len(pairs) == 12
    assert sorted(Counter(couples.tolist()).values()) == [4, 4, 4]  # each couple in turn


def test_both_measures_are_of_the_same_pairs(probe_file):
    pixels = images(20, 0)
    pairs, _ = draw_pairs(np.arange(20), [None] * 20, 6, seed=3)
    first, second = pixels[pairs[:, 0]], pixels[pairs[:, 1]]
    np.testing.assert_array_equal(ms_ssim_pairs(pixels, 6, seed=3), ms_ssim(first, second))
    expected = perceptual_distance(first, second, network())
    np.testing.assert_array_equal(perceptual_pairs(pixels, probe_file, 6, seed=3), expected)
    assert not np.array_equal(ms_ssim_pairs(pixels, 6, seed=4), ms_ssim(first, second))


def image_set(pixels, findings, patients=None):
    rows = [{"findings": finding, "view": ""} for finding in findings]
    return ImageSet(pixels, np.arange(len(pixels)), rows, np.arange(len(pixels)) if patients is None else patients)


def test_collapse_of_each_condition_to_one_image_is_seen():
    findings = ["Bright", "Dark"] * 20
    sets = {name: image_set(images(40, seed), findings) for seed, name in enumerate(("reference", *SETS))}
    sets["samples"] = image_set(np.tile(images(2, 9), (20, 1, 1, 1)), findings)
    found = diversity.diversity(sets, network(), MANIFEST, FEW)
    within = found["within_condition"]
    assert within["numbers"]["samples"] == {"pairs": 20, "of_patients": 20}
    assert within["ms_ssim"]["samples"]["value"] == pytest.approx(1, abs=1e-5)
    assert within["perceptual_distance"]["samples"]["value"] == 0
    assert found["all"]["ms_ssim"]["samples"]["value"] < 0.9
    for words in ("held-out real images", "real training images (the floor)"):
        assert (
            f"Two samples of the same findings and view, beside two {words}: less diverse by MS-SSIM, "
            "less diverse by perceptual distance." in found["verdicts"]
        )


def test_kinds_of_pairs_that_there_are_too_few_of_are_null_with_the_reason():
    sets = {name: image_set(images(12, seed), ["Bright"] * 12) for seed, name in enumerate(("reference", *SETS))}
    sets["reference"] = image_set(images(12, 0), ["Bright"] * 12, np.arange(12) // 2)
    found = diversity.diversity(sets, network(), MANIFEST, FEW)
    assert found["all"]["ms_ssim"] is None
    assert found["all"]["reason"] == "of reference there are fewer than 5 such pairs of patients"
    assert found["all"]["numbers"]["reference"]["of_patients"] == 3
    assert found["within_condition"]["reason"] == "all samples have the same findings and view, or none"
    assert found["verdicts"][0] == f"Any two samples: there is no figure, since {found['all']['reason']}."


def test_the_stage(toy_path, toy_samples, probe_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    synthetic = {
        "samples": toy_samples,
        "pca": toy_samples // 2 + 60,
        "untrained": np.random.default_rng(0).integers(0, 256, toy_samples.shape, dtype=np.uint8),
    }
    arguments = ["--pixels", str(toy_path), "--weights", str(probe_file)]
    arguments += ["--table", str(toy_path.with_suffix(".csv")), "--manifest", str(toy_path.with_suffix(".json"))]
    for name, pixels in synthetic.items():
        np.save(f"{name}.npy", pixels)
        rows = "".join(("No Finding,PA\n", "Bright,PA\n")[i % 2] for i in range(len(pixels)))
        (tmp_path / f"{name}.csv").write_text("findings,view\n" + rows)
        conditions = "conditions" if name == "samples" else f"{name}_conditions"
        arguments += [f"--{name}", f"{name}.npy", f"--{conditions}", f"{name}.csv"]
    for name in ("first", "second"):
        settings = json.dumps({"evaluate": {"bootstrap": 30}})
        diversity.main(["--settings", settings, *arguments, "--diversity", f"{name}.json"])
    assert sha256(tmp_path / "first.json") == sha256(tmp_path / "second.json")
    found = read_json(tmp_path / "first.json")
    assert found["ms_ssim"]["scales"] == 3
    for kind in diversity.KINDS:
        for name in diversity.UNITS:
            measured = found[kind][name]
            for key in ("reference", *SETS):
                low, high = measured[key]["interval"]
                assert low < measured[key]["value"] < high
            difference = measured["samples"]["value"] - measured["reference"]["value"]
            assert measured["samples_minus_reference"]["value"] == pytest.approx(difference, abs=1e-4)
        noise, samples = (found[kind]["ms_ssim"][key]["value"] for key in ("untrained_network", "samples"))
        assert noise < samples  # the most diverse of all
    # Images of one finding have their square in one place.
    within, of_all = (found[kind]["ms_ssim"]["reference"]["value"] for kind in ("within_condition", "all"))
    assert within > of_all


def test_verdicts_in_words():
    def kind(similarity, distance):
        differences = [{f"samples_minus_{name}": {"interval": each} for name in diversity.REAL} for each in
                       (similarity, distance)]  # fmt: skip
        return {"reason": None, "ms_ssim": differences[0], "perceptual_distance": differences[1]}

    said = verdicts({"all": kind((0.1, 0.2), (-2, -1)), "within_condition": kind((-0.2, -0.1), (-1, 1))})
    assert said[0].startswith("Any two samples, beside two held-out real images: less diverse by MS-SSIM, less diverse")
    assert said[2].endswith("more diverse by MS-SSIM, not told apart by perceptual distance.")
    assert len(said) == 5

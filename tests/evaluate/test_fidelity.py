"""Label fidelity with known answers."""

from types import SimpleNamespace

import numpy as np
import pytest

from scansynth.evaluate.fidelity import aurocs, label_fidelity, view_accuracy
from scansynth.evaluate.imagesets import ImageSet

ABOUT = SimpleNamespace(no_finding="")
READER = SimpleNamespace(findings=["Mass", "Nodule"], views=["AP", "PA"], about=ABOUT)
ROWS = [{"findings": "Mass" if i < 20 else "Nodule|Other", "view": "PA" if i % 2 else "AP"} for i in range(40)]


def test_areas_under_the_curve_are_those_of_pairs_ordered_rightly():
    generator = np.random.default_rng(0)
    probabilities = np.zeros((40, 4))
    probabilities[:, 0] = generator.normal(size=40) + np.repeat([1, 0], 20)
    mass, others = probabilities[:20, 0], probabilities[20:, 0]
    expected = (mass[:, None] > others).mean()
    found = aurocs(probabilities, ROWS, READER)
    assert found["Mass"] == pytest.approx(expected)
    assert found["Nodule"] == found["AP"] == 0.5  # all have the same probability


def test_classes_with_too_few_images_are_left_out():
    rows = [{"findings": "Mass" if i < 4 else "", "view": ""} for i in range(40)]
    assert aurocs(np.zeros((40, 4)), rows, READER) == {}


def test_images_without_a_label_say_nothing_where_absence_has_one():
    generator = np.random.default_rng(0)
    probabilities = generator.random((40, 4))
    unknown = [row | {"findings": "" if i % 3 else row["findings"]} for i, row in enumerate(ROWS)]
    asked = SimpleNamespace(**{**vars(READER), "about": SimpleNamespace(no_finding="Other")})
    known = [i for i in range(40) if not i % 3]
    found = aurocs(probabilities[known], [ROWS[i] for i in known], READER)
    assert aurocs(probabilities, unknown, asked)["Mass"] == found["Mass"]
    assert aurocs(probabilities, unknown, READER)["Mass"] != found["Mass"]


def test_views_are_compared_with_those_asked_for():
    probabilities = np.zeros((40, 4))
    probabilities[:, 3] = 1  # PA, which every second one was to be
    assert view_accuracy(probabilities, ROWS, READER) == 0.5
    # Of every second one it is not known.
    assert view_accuracy(probabilities, [row | {"view": row["view"].replace("AP", "")} for row in ROWS], READER) == 1
    assert view_accuracy(probabilities, [row | {"view": ""} for row in ROWS], READER) is None


class Told:
    """A reader that is told the truth of one set, and reads the other at random."""

    findings, views, about = READER.findings, READER.views, ABOUT

    def probabilities(self, pixels):
        truth = np.array([[i < 20, i >= 20, i % 2 == 0, i % 2 == 1] for i in pixels[:, 0, 0, 0]], dtype=float)
        noise = np.random.default_rng(0).random(truth.shape)
        return np.where(pixels[:, 0, 0, 1, None] == 1, truth, noise)


def test_fidelity_of_the_right_and_of_the_wrong_with_intervals():
    array = np.zeros((80, 1, 1, 2), np.uint8)
    array[:, 0, 0, 0] = np.tile(np.arange(40), 2)
    array[:40, 0, 0, 1] = 1
    sets = {
        "right": ImageSet(array, np.arange(40), ROWS, np.arange(40)),
        "wrong": ImageSet(array, np.arange(40, 80), ROWS, np.arange(40)),
        "few": ImageSet(array, np.arange(4), ROWS[:4], np.arange(4)),
    }
    found = label_fidelity(sets, Told(), replicates=50, seed=0)
    assert found["right"]["mean_auroc"] == 1 and found["right"]["view_accuracy"]["value"] == 1
    assert found["right"]["classes"]["Mass"]["interval"] == [1, 1]
    low, high = found["wrong"]["classes"]["Mass"]["interval"]
    assert low < 0.6 and high > 0.4 and 0.1 < high - low < 0.6
    assert found["wrong"]["classes"]["Mass"]["positive"] == 20
    assert (
        found["few"]["classes"]["Mass"]["value"] is None and "fewer than 5" in found["few"]["classes"]["Mass"]["reason"]
    )
    assert found["few"]["mean_auroc"] is found["few"]["mean_auroc_interval"] is None
    areas = [each["value"] for each in found["wrong"]["classes"].values()]
    assert found["wrong"]["mean_auroc"] == pytest.approx(np.mean(areas), abs=1e-5)
    low, high = found["wrong"]["mean_auroc_interval"]
    assert low < found["wrong"]["mean_auroc"] < high and high - low < 0.6
    assert found["right"]["mean_auroc_interval"] == [1, 1]


def test_intervals_are_over_patients():
    """Ten images of a patient that are read alike are no more evidence than one."""
    patients = np.repeat(np.arange(8), 5)
    scores = np.array([0.9, 0.8, 0.7, 0.2, 0.6, 0.4, 0.3, 0.1])[patients]
    rows = [{"findings": "Mass" if patient < 4 else "", "view": ""} for patient in patients]
    reader = SimpleNamespace(findings=["Mass"], views=[], about=ABOUT)
    reader.probabilities = lambda pixels: scores[pixels[:, 0, 0, 0], None]
    array = np.arange(40, dtype=np.uint8).reshape(-1, 1, 1, 1)
    widths = {}
    for name, groups in (("images", np.arange(40)), ("patients", patients)):
        found = label_fidelity({"set": ImageSet(array, np.arange(40), rows, groups)}, reader, 200, 0)
        low, high = found["set"]["classes"]["Mass"]["interval"]
        widths[name] = high - low
    assert widths["patients"] > 1.3 * widths["images"]

"""Conditions: each label and age has its place in the vector, and what is unknown is no value of its own."""

import numpy as np
import pytest

from scansynth.conditions import COLUMNS, Vocabulary, vocabulary
from scansynth.errors import ScansynthError

KNOWN = Vocabulary(["Mass", "Nodule"], ["PA", "AP"], ["F", "M"], [20, 80])
UNKNOWN = dict.fromkeys(COLUMNS, "")


def encoded(known=KNOWN, **row):
    (vector,) = known.encode([UNKNOWN | row])
    assert vector.dtype == np.float32
    return vector.tolist()


def test_what_is_unknown_is_zero():
    assert encoded() == [0] * len(KNOWN) == [0] * 8


def test_several_findings_at_once_and_one_view_and_sex():
    assert encoded(findings="Nodule|Mass", view="AP", sex="F") == [1, 1, 0, 1, 1, 0, 0, 0]


@pytest.mark.parametrize(("age", "element"), [("20", -1), ("50", 0), ("80", 1), ("65", 0.5)])
def test_age_is_scaled_and_the_middle_one_is_not_unknown(age, element):
    assert encoded(age=age)[-2:] == [element, 1]


def test_images_of_one_age():
    assert encoded(Vocabulary([], [], [], [40, 40]), age="40") == [0, 1]


def test_data_without_sex_and_age_have_findings_and_views_alone():
    known = vocabulary({"findings": ["Mass"], "views": ["PA"], "sexes": [], "ages": []})
    assert len(known) == 2
    # Ages may be known of held-out images alone: then the model has learnt none.
    assert encoded(known, findings="Mass", view="PA", age="50") == [1, 1]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"findings": "Mass|Cyst"}, "the finding 'Cyst' .* known: Mass, Nodule"),
        ({"view": "LL"}, "the view 'LL' .* known: PA, AP"),
        ({"sex": "X"}, "the sex 'X' .* known: F, M"),
        ({"age": "old"}, "the age 'old' is not a number"),
    ],
)
def test_what_the_model_does_not_know_is_refused(row, words):
    with pytest.raises(ScansynthError, match=words):
        encoded(**row)


def test_any_row_of_any_order_is_encoded_alone():
    random = np.random.default_rng(0)
    rows = [
        {
            "findings": "|".join(random.permutation(KNOWN.findings)[: random.integers(3)]),
            "view": str(random.choice(["", *KNOWN.views])),
            "sex": str(random.choice(["", *KNOWN.sexes])),
            "age": str(random.choice(["", "20", "37", "80"])),
        }
        for _ in range(50)
    ]
    together = KNOWN.encode(rows)
    for row, vector in zip(rows, together, strict=True):
        assert encoded(**row) == vector.tolist()
        assert vector[:2].sum() == len([name for name in row["findings"].split("|") if name])
        assert vector[2:4].sum() == bool(row["view"]) and vector[4:6].sum() == bool(row["sex"])
        assert vector[-1] == bool(row["age"]) and abs(vector[-2]) <= 1

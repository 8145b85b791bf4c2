"""What may be asked of a model: what it has seen, and nothing else; the rest is drawn like its training images."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from scansynth.conditions import vocabulary
from scansynth.errors import ScansynthError
from scansynth.request import Learnt

DESCRIPTION = {
    "channels": ["gray"],
    "findings": ["No Finding", "Effusion", "Nodule", "Hernia"],
    "no_finding": "No Finding",
    "views": ["PA", "AP"],
    "sexes": ["F", "M"],
    "ages": [20, 80],
}
ROWS = [
    {"findings": "No Finding", "view": "PA", "sex": "F", "age": "20"},
    {"findings": "No Finding", "view": "PA", "sex": "M", "age": "80"},
    {"findings": "Effusion", "view": "AP", "sex": "M", "age": "40"},
    {"findings": "Effusion|Nodule", "view": "PA", "sex": "M", "age": ""},
]


def learnt(rows=ROWS, **changes):
    described = DESCRIPTION | changes
    return Learnt.of(described, vocabulary(described).encode(rows).mean(0), Path("model.safetensors"))


def asked(**values):
    return dict.fromkeys(("findings", "view", "sex", "age")) | values


def test_what_training_images_showed_is_read_from_their_mean():
    found = learnt()
    assert found.shares["findings"] == {"No Finding": 0.5, "Effusion": 0.5, "Nodule": 0.25, "Hernia": 0}
    assert found.shares["view"] == {"PA": 0.75, "AP": 0.25}
    assert found.shares["sex"] == {"F": 0.25, "M": 0.75}
    assert (found.ages, found.aged) == ((20, 80), 0.75)
    assert found.age == pytest.approx((20 + 80 + 40) / 3, abs=1e-5)


def test_one_age_and_no_age():
    assert learnt([ROWS[0]] * 2, ages=[20, 20]).age == 20
    none = learnt([row | {"age": ""} for row in ROWS], ages=[])
    assert none.ages is None and none.complete({}, 0, 0)["age"] == ""


def test_what_is_asked_for_is_had():
    wanted = learnt().check(asked(findings="Nodule|Effusion", view="AP", sex="F", age=60.0))
    assert wanted == {"findings": "Effusion|Nodule", "view": "AP", "sex": "F", "age": "60"}
    assert all(learnt().complete(wanted, 0, i) == wanted for i in range(5))
    assert learnt().check(asked()) == {}


def test_none_is_without_findings():
    assert learnt().check(asked(findings="none")) == {"findings": "No Finding"}
    rows = [row | {"findings": row["findings"].removeprefix("No Finding")} for row in ROWS]
    without = learnt(rows, findings=["Effusion", "Nodule"], no_finding="")
    assert without.check(asked(findings="none")) == {"findings": ""}
    each = learnt(ROWS[1:3], findings=["No Finding", "Effusion"], no_finding="")
    with pytest.raises(ScansynthError, match="each training image shows one of No Finding, Effusion"):
        each.check(asked(findings="none"))


def test_what_is_left_out_is_drawn_by_its_share():
    known = learnt()
    drawn = [known.complete({"view": "AP"}, 3, i) for i in range(4000)]
    assert {row["view"] for row in drawn} == {"AP"}
    assert {row["age"] for row in drawn} == {"47", ""}
    for column, shares in {
        "findings": {"No Finding": 0.4, "Effusion": 0.4, "Nodule": 0.2},  # shares of the labels, one each
        "sex": {"F": 0.25, "M": 0.75},
        "age": {"47": 0.75, "": 0.25},
    }.items():
        counts = Counter(row[column] for row in drawn)
        assert set(counts) == set(shares)
        for label, share in shares.items():
            assert counts[label] / 4000 == pytest.approx(share, abs=0.03)


def test_what_some_images_do_not_say_is_left_open_as_often():
    rows = [row | {"view": "" if i < 2 else row["view"]} for i, row in enumerate(ROWS)]
    known = learnt(rows)
    drawn = Counter(known.complete({}, 0, i)["view"] for i in range(2000))
    assert drawn[""] / 2000 == pytest.approx(0.5, abs=0.04)


def test_an_image_depends_on_seed_and_number_alone():
    one = [learnt().complete({}, 1, i) for i in range(20)]
    assert one == [learnt().complete({}, 1, i) for i in reversed(range(20))][::-1]
    assert one != [learnt().complete({}, 2, i) for i in range(20)]
    # What is asked for in one column changes nothing in the others.
    for i, row in enumerate(one):
        assert learnt().complete({"findings": "Nodule"}, 1, i) == row | {"findings": "Nodule"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"findings": "efusion"},
            "'efusion': did you mean 'Effusion'. the model knows: No Finding, Effusion, Nod",
        ),
        ({"findings": "Effusion|Mass"}, "--findings 'Mass': the model knows"),
        ({"findings": ""}, "--findings '': the model knows"),
        ({"findings": "Hernia"}, "no training image of the model shows it; the model knows"),
        ({"findings": "No Finding|Nodule"}, "'No Finding' says that there is none of the others"),
        ({"view": "pa"}, "--view 'pa': did you mean 'PA'. the model knows: PA, AP"),
        ({"sex": "X"}, "--sex 'X': the model knows: F, M"),
        ({"age": 19.9}, "--age 19.9: .* 20 to 80 years"),
        ({"age": float("nan")}, "--age nan: .* 20 to 80 years"),
    ],
)
def test_what_the_model_cannot_know_is_refused(values, said):
    with pytest.raises(ScansynthError, match=said):
        learnt().check(asked(**values))


@pytest.mark.parametrize("value", [{"findings": "Nodule"}, {"view": "PA"}, {"sex": "F"}, {"age": 40.0}])
def test_a_model_without_conditions_is_asked_for_nothing(value):
    nothing = {"findings": [], "no_finding": "", "views": [], "sexes": [], "ages": []}
    bare = learnt([dict.fromkeys(("findings", "view", "sex", "age"), "")], **nothing)
    assert bare.complete({}, 0, 0) == dict.fromkeys(("findings", "view", "sex", "age"), "")
    with pytest.raises(ScansynthError, match=f"say nothing of .*: leave --{next(iter(value))} out"):
        bare.check(asked(**value))


def test_a_model_that_does_not_say_enough_is_refused():
    with pytest.raises(ScansynthError, match="did not keep channels and no_finding; train it anew"):
        Learnt.of({"findings": [], "views": [], "sexes": [], "ages": []}, np.zeros(0), Path("old.safetensors"))

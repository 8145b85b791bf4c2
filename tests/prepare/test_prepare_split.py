from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scansynth.config import Images
from scansynth.prepare import patients
from scansynth.prepare.split import assign


@given(st.sets(st.integers(0, 10**6).map(str), max_size=30), st.sets(st.integers(0, 10**6).map(str), max_size=30))
def test_nobody_changes_place_when_others_are_added(first, others):
    def splits(names):
        return {name: assign(patients.pseudonym(name, "t"), Images()) for name in sorted(names)}

    before, after = splits(first), splits(first | others)
    assert before == {name: after[name] for name in first}


@pytest.mark.parametrize("seed", [0, 1])
def test_shares(seed):
    images = Images(train=0.6, val=0.1, test=0.3, split_seed=seed)
    counts = Counter(assign(patients.pseudonym(str(i), "t"), images) for i in range(20_000))
    for split in ("train", "val", "test"):
        assert counts[split] / 20_000 == pytest.approx(getattr(images, split), abs=0.015)


def test_seed_matters():
    names = [patients.pseudonym(str(i), "t") for i in range(100)]
    assert [assign(n, Images(split_seed=0)) for n in names] != [assign(n, Images(split_seed=1)) for n in names]


def test_growing_the_training_share_moves_nobody_out_of_it():
    small, large = Images(train=0.5, val=0.1, test=0.4), Images(train=0.7, val=0.1, test=0.2)
    names = [patients.pseudonym(str(i), "t") for i in range(500)]
    assert {n for n in names if assign(n, small) == "train"} <= {n for n in names if assign(n, large) == "train"}


def test_pseudonym():
    name = patients.pseudonym("00000061", "NIH ChestX-ray14")
    assert name == patients.pseudonym("61", "NIH ChestX-ray14") != patients.pseudonym("61", "another")
    assert len(name) == 14
    assert name[2:] != "61"


@pytest.mark.parametrize(
    "written, kept",
    [
        *[("058Y", "58"), ("58", "58"), ("0", "0"), ("120", "120"), ("011M", "0"), ("030M", "2")],
        *[("412", ""), ("121", ""), ("", ""), ("old", ""), ("-5", "")],
    ],
)
def test_age(written, kept):
    assert patients.years(written) == kept


@pytest.mark.parametrize("written, kept", [("M", "M"), ("f", "F"), ("Female", "F"), ("", ""), ("O", "")])
def test_sex(written, kept):
    assert patients.sex(written) == kept

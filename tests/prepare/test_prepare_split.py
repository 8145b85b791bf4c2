from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scansynth.acquire import key
from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError
from scansynth.prepare import patients
from scansynth.prepare.split import assign, check_leaks
from scansynth.sections import Images


@given(st.sets(st.integers(0, 10**6).map(str), max_size=30), st.sets(st.integers(0, 10**6).map(str), max_size=30))
def test_nobody_changes_place_when_others_are_added(first, others):
    def splits(names):
        return {name: assign(patients.pseudonym(name, b"key"), Images()) for name in sorted(names)}

    before, after = splits(first), splits(first | others)
    assert before == {name: after[name] for name in first}


@pytest.mark.parametrize("seed", [0, 1])
def test_shares(seed):
    images = Images(train=0.6, val=0.1, test=0.3, split_seed=seed)
    counts = Counter(assign(patients.pseudonym(str(i), b"key"), images) for i in range(20_000))
    for split in ("train", "val", "test"):
        assert counts[split] / 20_000 == pytest.approx(getattr(images, split), abs=0.015)


def test_seed_matters():
    names = [patients.pseudonym(str(i), b"key") for i in range(100)]
    assert [assign(n, Images(split_seed=0)) for n in names] != [assign(n, Images(split_seed=1)) for n in names]


def test_growing_the_training_share_moves_nobody_out_of_it():
    small, large = Images(train=0.5, val=0.1, test=0.4), Images(train=0.7, val=0.1, test=0.2)
    names = [patients.pseudonym(str(i), b"key") for i in range(500)]
    assert {n for n in names if assign(n, small) == "train"} <= {n for n in names if assign(n, large) == "train"}


def test_pseudonym():
    name = patients.pseudonym("00000061", b"key")
    assert name == patients.pseudonym("61", b"key") != patients.pseudonym("61", b"another")
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


def test_age_of_the_old_is_not_told():
    assert patients.years("97", top=patients.TOP) == "90"


def test_key_is_public_or_a_secret_that_stays(tmp_path):
    about = {"title": "t", "layout": "nih", "licence": "", "citation": "", "address": ""}
    public, private = Dataset(**about), Dataset(**about, private=True)
    assert patients.pseudonym_key(public, tmp_path) == patients.pseudonym_key(public, tmp_path / "elsewhere")
    with pytest.raises(ScansynthError, match=r"pseudonym\.key"):
        patients.pseudonym_key(private, tmp_path)
    told = key.make(tmp_path)
    secret = patients.pseudonym_key(private, tmp_path)
    assert len(secret) == 32 and key.make(tmp_path) == told
    assert (tmp_path / "pseudonym.key").stat().st_mode & 0o077 == 0
    (tmp_path / "pseudonym.key").write_text("00ff")
    with pytest.raises(ScansynthError, match="not readable"):
        patients.pseudonym_key(private, tmp_path)


def test_official_split_is_kept_unless_hashed():
    names = [patients.pseudonym(str(i), b"key") for i in range(2000)]
    assert {assign(n, Images(), "test") for n in names} == {"test"}
    cut = Counter(assign(n, Images(), "train-val") for n in names)
    assert cut["test"] == 0 and cut["val"] / 2000 == pytest.approx(1 / 8, abs=0.03)
    assert {assign(n, Images(split="hashed"), "test") for n in names} == {"train", "val", "test"}


def test_a_leak_is_an_error():
    rows = [{"id": i, "patient": p, "split": s} for i, p, s in (("a", "p1", "train"), ("b", "p2", "test"))]
    check_leaks(rows, "patient")
    with pytest.raises(ScansynthError, match="p1 is in two splits: a in train, c in val"):
        check_leaks([*rows, {"id": "c", "patient": "p1", "split": "val"}], "patient")


@pytest.mark.parametrize("written, kept", [("M", "M"), ("f", "F"), ("Female", "F"), ("", ""), ("O", "")])
def test_sex(written, kept):
    assert patients.sex(written) == kept

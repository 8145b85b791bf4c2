import pytest
from hypothesis import given
from hypothesis import strategies as st

from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError
from scansynth.prepare.privacy import check

HEADER = "id,patient,findings\n"
ABOUT = {"title": "t", "layout": "dicom_folder", "licence": "", "citation": "", "address": ""}
DATASET = Dataset(**ABOUT, findings=("Nodule", "Tumour"), views=("PA",))
MANIFEST = {"duplicates": [], "quarantined": [], "flags": {}, "tables": []}
NAMES = frozenset({"Doe^Jane", "MRN-4711", "19610224", "1.2.840.113619.2.55", "müller"})


@pytest.mark.parametrize(
    "text", ["Doe Jane", "JANE DOE, doe^jane", "of mrn_4711", "1961 19610224", "x/1.2.840.113619.2.55/y", "Müller_T1"]
)
def test_an_identifier_is_found_however_it_is_written(text):
    with pytest.raises(ScansynthError, match="the table's column findings, row 1") as caught:
        check(NAMES, DATASET, f'{HEADER}a,p1,Nodule\nb,p2,"{text}"\n', MANIFEST)
    assert "4711" not in str(caught.value) and "doe" not in str(caught.value).casefold()
    with pytest.raises(ScansynthError, match="the manifest's quarantined"):
        check(NAMES, DATASET, HEADER, MANIFEST | {"quarantined": [{"source": text, "reason": "blank"}]})


@pytest.mark.parametrize("text", ["Jane", "47110", "MRN", "1.2.840", "Doeskin^Janet", "a4711b", ""])
def test_what_is_not_an_identifier_is_let_through(text):
    check(NAMES, DATASET, f'{HEADER}a,p1,"{text}"\n', MANIFEST | {"flags": {text: 4}})


@given(st.text(st.characters(whitelist_categories=("L", "N")), min_size=4, max_size=12), st.integers(0, 2))
def test_any_word_is_found_in_any_cell(word, column):
    cells = ["", "", ""]
    cells[column] = f"a {word} b"
    with pytest.raises(ScansynthError):
        check(frozenset({word}), DATASET, HEADER + ",".join(cells) + "\n", MANIFEST)


def test_a_label_may_be_a_folders_name():
    check(frozenset({"tumour", "scans"}), DATASET, f"{HEADER}a,p1,Tumour\n", MANIFEST)
    with pytest.raises(ScansynthError):
        check(frozenset({"tumour", "scans"}), DATASET, f"{HEADER}scans_a,p1,Tumour\n", MANIFEST)

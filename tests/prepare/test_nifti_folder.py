from pathlib import Path

import pytest

from scansynth.acquire import inventory
from scansynth.acquire.layout import find_files
from scansynth.config import Settings
from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError
from scansynth.prepare.items import Listing
from scansynth.prepare.layouts.nifti_folder import read_listing
from scansynth.prepare.read import read_items
from scansynth.sections import Images, Patches, Slices

REGISTERED = {"title": "t", "layout": "nifti_folder", "licence": "", "citation": "", "address": ""}


def listing(root: Path, **dataset) -> Listing:
    entries = inventory.take(root, find_files(root, "nifti_folder"))
    return read_listing(root, entries, Dataset(**REGISTERED | dataset), b"key")


def write(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def roles(made: Listing) -> dict[str, list[str]]:
    return {item.name: [file.role for file in item.files] for item in made.items}


def test_sessions_of_bids(tmp_path):
    write(tmp_path, "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz", "sub-01/ses-a/anat/sub-01_ses-a_acq-x_FLAIR.nii.gz")
    write(tmp_path, "sub-01/ses-b/anat/sub-01_ses-b_T2w.nii", "sub-01/ses-b/func/sub-01_ses-b_task-rest_bold.nii.gz")
    write(tmp_path, "sub-02/anat/sub-02_T1w.mgz", "sub-02/anat/sub-02_PDw.nii.gz", "sub-02/fmap/sub-02_phasediff.nii")
    made = listing(tmp_path)
    expected = {"sub-01_ses-a": ["t1", "flair"], "sub-01_ses-b": ["t2", "bold"], "sub-02": ["pd", "t1"]}
    assert roles(made) == expected
    one, same, other = (item.label.patient for item in made.items)
    assert one == same != other
    assert list(made.flags.values()) == [1]  # the field map
    assert not made.rejected
    assert {item.reader for item in made.items} == {"nifti"}


def test_further_runs_of_a_contrast_are_items_of_their_own(tmp_path):
    write(tmp_path, *(f"sub-01/anat/sub-01_run-{run}_T1w.nii.gz" for run in (1, 2, 3)))
    write(tmp_path, "sub-01/anat/sub-01_T2w.nii.gz")
    made = listing(tmp_path)
    assert roles(made) == {"sub-01": ["t2", "t1"], "sub-01_2": ["t1"], "sub-01_3": ["t1"]}
    assert len({item.label.patient for item in made.items}) == 1


def test_masks_go_with_their_session(tmp_path):
    write(tmp_path, "sub-01/sub-01_T1w.nii.gz", "sub-01/sub-01_run-2_T1w.nii.gz")
    write(tmp_path, "sub-01/sub-01_label-lesion_mask.nii.gz", "sub-01/sub-01_label-other_mask.nii.gz")
    write(tmp_path, "sub-01/sub-01_desc-brain_mask.nii.gz", "masks/sub-01/sub-01_label-lesion_mask.nii.gz")
    made = listing(tmp_path)
    assert roles(made) == {"sub-01": ["t1", "mask"], "sub-01_2": ["t1"]}
    assert made.items[0].files[1].path == "sub-01/sub-01_label-lesion_mask.nii.gz"
    assert list(made.flags.values()) == [3]
    with pytest.raises(ScansynthError, match="there is no other one"):
        listing(tmp_path / "masks")


def test_derivatives_are_the_same_patient(tmp_path):
    write(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", "derivatives/prep/sub-01/anat/sub-01_desc-preproc_T1w.nii.gz")
    made = listing(tmp_path)
    assert roles(made) == {"derivatives_prep_sub-01": ["t1"], "sub-01": ["t1"]}
    assert len({item.label.patient for item in made.items}) == 1


def test_any_names_with_a_table(tmp_path):
    write(tmp_path, "a/one.nii.gz", "a/two.nii", "b/three.mgz", "sub-07_T1w.nii.gz", "stray.nii")
    (tmp_path / "labels.csv").write_text(
        "file,patient,findings,age\na,Jane,Tumour,50\nb/three.mgz,John,,\nsub-07_T1w.nii.gz,John,,\ngone.nii,X,,\n"
    )
    made = listing(tmp_path)
    assert roles(made) == {"a_one": [""], "a_two": [""], "b_three": [""], "sub-07": ["t1"]}
    one, two, three, bids = (item.label for item in made.items)
    assert one == two
    assert (one.findings, one.age) == (("Tumour",), "50")
    assert three.patient == bids.patient != one.patient
    assert made.rejected == {"stray.nii": "no row in labels.csv"}
    assert made.rows_without_file == 1
    assert made.tables == ("labels.csv",)


def test_nobody_is_known(tmp_path):
    write(tmp_path, "one.nii.gz", "two.nii.gz")
    with pytest.raises(ScansynthError, match=r"Write labels.csv into that folder"):
        listing(tmp_path)
    one, two = listing(tmp_path, split_by="image").items
    assert one.label.patient != two.label.patient
    (tmp_path / "labels.csv").write_text("file,findings\none.nii.gz,x\ntwo.nii.gz,y\n")
    with pytest.raises(ScansynthError, match=r"who is on which image is not known"):
        listing(tmp_path)


def test_the_same_volume_in_two_formats(tmp_path):
    write(tmp_path, "one.nii", "one.nii.gz")
    with pytest.raises(ScansynthError, match=r"one.nii and one.nii.gz would both be called one"):
        listing(tmp_path, split_by="image")


def test_private_sets_give_nothing_away(tmp_path):
    write(tmp_path, "Doe_Jane/sub-4711_T1w.nii.gz", "Doe_Jane/head.nii.gz")
    (tmp_path / "Doe_Jane" / "copy.nii.gz").write_bytes((tmp_path / "Doe_Jane" / "head.nii.gz").read_bytes())
    made = listing(tmp_path, private=True, split_by="image")
    assert [item.name[:12] for item in made.items] == [item.files[0].sha256[:12] for item in made.items]
    assert len({item.name for item in made.items}) == 3
    assert made.identifiers == {"Doe_Jane", "sub-4711_T1w", "copy"}
    assert not made.rejected
    assert not listing(tmp_path, split_by="image").identifiers


def test_real_volumes(shared_data):
    root = shared_data / "nifti-brain" / "rorden"
    if not root.is_dir():
        pytest.skip("needs shared/data/nifti-brain")
    made = listing(root, split_by="image")
    dataset = Dataset(**REGISTERED, split_by="image")
    settings = Settings(dataset=dataset, images=Images(size=64), slices=Slices(every_mm=10), patches=Patches())
    for result in read_items(root, made.items, settings, workers=1):
        assert result.reason is None
        assert 10 < len(result.images) < 20
        assert all(image.pixels.std() > 20 for image in result.images)

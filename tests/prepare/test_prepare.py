import errno
import os
import re
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scansynth.acquire.phantoms import brain
from scansynth.config import load_dataset
from scansynth.files import sha256
from scansynth.prepare import read, shard
from scansynth.prepare.decoded import Decoded
from scansynth.prepare.normalize import normalize
from scansynth.prepare.split import SPLITS
from scansynth.sections import Images
from scansynth.store import COLUMNS

REPOSITORY = Path(__file__).resolve().parents[2]

OUTPUTS = (".npy", "_masks.npy", ".csv", ".json")


def fail(capsys, action) -> str:
    """The message of a run that has to fail as one that the user can mend, leaving no output behind."""
    with pytest.raises(SystemExit) as caught:
        action()
    assert caught.value.code == 1
    images = Path("data/images")
    assert not images.exists() or not list(images.iterdir())
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message


def good(folder, count: int) -> None:
    for i in range(count):
        folder.add_png(f"{i:08}_000.png", seed=i)


def test_store(folder):
    folder.add_png("00000002_000.png", 1, findings="Nodule|Effusion", view="AP", age="412", sex="M")
    folder.add_dicom("00000001_000.dcm", 2, folder="images_002/images")
    folder.add_png("00000002_001.png", 3, shape=(40, 50), folder="images_001/images")
    folder.run()
    store = folder.store
    assert store.pixels.shape == (3, 1, 64, 64)
    assert store.pixels.dtype == np.uint8
    assert tuple(store.table[0]) == COLUMNS
    assert [row["source"] for row in store.table] == [
        "images/00000002_000.png",
        "images_001/images/00000002_001.png",
        "images_002/images/00000001_000.dcm",
    ]
    row = store.table[0]
    assert (row["id"], row["findings"], row["view"], row["sex"], row["age"]) == (
        "00000002_000", "Nodule|Effusion", "AP", "M", ""
    )  # fmt: skip
    assert row["sha256"] == sha256(folder.root / row["source"])
    assert row["patient"] == store.table[1]["patient"] != store.table[2]["patient"]
    np.testing.assert_array_equal(store.conditions[0, :5], [0, 1, 1, 0, 1])
    manifest = folder.manifest
    assert (manifest["images"], manifest["patients"], manifest["upscaled"]) == (3, 2, 1)
    assert manifest["sexes"] == ["F", "M"]
    assert sum(split["images"] for split in manifest["splits"].values()) == 3
    assert sum(split["findings"]["No Finding"] for split in manifest["splits"].values()) == 2
    assert sum(split["views"]["AP"] for split in manifest["splits"].values()) == 1


def test_the_range_of_ages_is_that_of_the_training_images(folder):
    for patient in range(1, 13):
        folder.add_png(f"{patient:08d}_000.png", patient, age=f"{20 + 5 * patient}", sex="")
    folder.run()
    ages = {split: [int(row["age"]) for row in folder.store.table if row["split"] == split] for split in SPLITS}
    assert folder.manifest["ages"] == [min(ages["train"]), max(ages["train"])] and ages["test"]
    assert folder.manifest["sexes"] == []
    known = len(folder.manifest["findings"]) + len(folder.manifest["views"])
    assert folder.store.conditions.shape == (12, known + 2)


def test_neighbouring_folders_are_left_out(folder):
    good(folder, 2)
    folder.add_png("00000009_000.png", 9, folder="images_64")
    folder.add_png("00000010_000.png", 9, folder="images_1024/images")
    folder.run()
    assert len(folder.store.pixels) == 2
    assert folder.manifest["rows_without_file"] == 2


def test_same_bytes_for_any_number_of_workers_and_shards(folder, monkeypatch):
    monkeypatch.setattr(read, "CHUNK", 2)
    good(folder, 6)
    folder.add_file("00000099_000.dcm", lambda path: path.write_text("no"))
    outputs = []
    for workers, shards in ((1, 1), (2, 1), (1, 3), (1, 11)):
        monkeypatch.setenv("OMP_NUM_THREADS", str(workers))
        folder.run(max_quarantined=0.5, shards=shards)
        outputs.append([Path(f"data/images/t_64{suffix}").read_bytes() for suffix in OUTPUTS])
    assert outputs[0] == outputs[1] == outputs[2] == outputs[3]
    # The header that was written first and the final one are of one length.
    assert len(outputs[0][0]) == 128 + 6 * 64 * 64


def test_nothing_of_the_patient_is_kept(folder):
    folder.add_dicom("scan_a.dcm", 0, patient="MRN-4711")
    folder.add_png("scan_b.png", 1, patient="MRN-4711")
    folder.run()
    for file in (
        path for path in Path("data").rglob("*") if path.is_file() and not path.is_relative_to("data/raw/t/files")
    ):
        content = file.read_bytes()
        # Whole, in any case: three letters turn up in compressed pixels by chance, four digits in a hash.
        assert not re.search(rb"(?i)doe.?jane|mrn.?4711", content), file
        assert str(folder.root).encode() not in content, file


def test_bad_files_are_quarantined(folder, make_dicom):
    good(folder, 3)
    cut = folder.add_dicom("00000010_000.dcm", 10)
    cut.write_bytes(cut.read_bytes()[:-500])
    folder.add_file("00000011_000.dcm", lambda path: path.write_text("this is text\n" * 100))
    folder.add_file(
        "00000012_000.dcm", lambda path: make_dicom(np.zeros((4, 4), np.uint8), PixelData=None).save_as(path)
    )
    folder.add_file("00000013_000.png", lambda path: Image.new("L", (80, 40), 90).save(path))
    folder.add_file("00000014_000.png", lambda path: path.write_bytes(b""))
    folder.add_png("00000015_000.png", 15)
    folder.rows.pop()
    folder.run(max_quarantined=0.7)
    reasons = {entry["source"][-16:]: entry["reason"] for entry in folder.manifest["quarantined"]}
    assert list(reasons) == [
        f"{i:08}_000.{suffix}" for i, suffix in zip(range(10, 16), ["dcm"] * 3 + ["png"] * 3, strict=True)
    ]
    words = ("cut short", "not a DICOM", "no pixel data", "blank", "not a PNG", "no row in Data_Entry_2017_v2020.csv")
    for reason, word in zip(reasons.values(), words, strict=True):
        assert word in reason
    assert len(folder.store.pixels) == folder.manifest["images"] == 3
    assert folder.manifest["quarantined_count"] == 6


def test_a_lost_source_counts_as_much_as_one_that_gives_many_images(folder, capsys):
    """One of three volumes is lost: 3 % of what would have been images, but a third of the subjects."""
    brains(folder)
    folder.acquire()
    lost = folder.root / "BraTS2021_00001" / "BraTS2021_00001_t1.nii.gz"
    lost.write_bytes(b"not a volume")
    message = fail(capsys, lambda: folder.prepare(slices={"every_mm": 8}, channels=["t1", "flair"]))
    assert "0.33 of the sources" in message


def test_shards_of_volumes_with_masks_are_the_same(folder):
    brains(folder)
    folder.acquire()
    outputs = []
    for shards in (1, 2, 3):
        folder.prepare(shards=shards, slices={"every_mm": 8, "foreground": 0.4}, channels=["t1", "flair"])
        outputs.append([Path(f"data/images/t_64{suffix}").read_bytes() for suffix in OUTPUTS])
    assert outputs[0] == outputs[1] == outputs[2]
    masks = np.load("data/images/t_64_masks.npy")
    rows = folder.store.table
    assert [int(row["mask"]) for row in rows] == list(range(len(masks)))
    for row, mask in zip(rows, masks, strict=True):
        assert (row["findings"] == "Tumour") == bool(mask.any())


def brains(folder) -> None:
    brain.generate(folder.root, count=3, seed=0, workers=1)
    findings = {"findings": ["No Tumour", "Tumour"], "no_finding": "No Tumour", "views": [], "split_by": "subject"}
    folder.dataset = folder.dataset | {"layout": "brats"} | findings


def test_too_many_quarantined(folder, capsys):
    good(folder, 3)
    folder.add_file("00000011_000.dcm", lambda path: path.write_text("text"))
    message = fail(capsys, folder.run)
    assert "1 of 4 images" in message
    assert "images/00000011_000.dcm: not a DICOM file" in message
    assert "1 x not a DICOM file" in message
    assert "raise images.max_quarantined" in message
    folder.prepare(max_quarantined=0.25)
    assert len(folder.store.pixels) == 3


def test_no_good_image(folder, capsys):
    folder.add_file("00000011_000.dcm", lambda path: path.write_text("text"))
    assert "1 of 1 images" in fail(capsys, lambda: folder.run(max_quarantined=1))


def test_file_that_changed_or_went_since_it_was_acquired(folder):
    good(folder, 4)
    folder.write_table()
    folder.acquire()
    folder.add_png("00000000_000.png", seed=99)
    (folder.root / "images" / "00000001_000.png").unlink()
    folder.prepare(max_quarantined=0.5)
    reasons = [entry["reason"] for entry in folder.manifest["quarantined"]]
    assert "changed since" in reasons[0]
    assert "gone since" in reasons[1]


def test_table_or_inventory_that_changed(folder, capsys):
    good(folder, 2)
    folder.write_table()
    folder.acquire()
    folder.rows.pop()
    folder.write_table()
    assert "Data_Entry_2017_v2020.csv: changed since" in fail(capsys, folder.prepare)
    with Path("data/raw/t/inventory.csv").open("a") as handle:
        handle.write("images/x.png,1,00\n")
    assert "not the inventory" in fail(capsys, folder.prepare)


def test_rows_without_file_are_counted(folder):
    good(folder, 2)
    folder.add_row("00000077_000.png")
    folder.run()
    assert folder.manifest["rows_without_file"] == 1


def test_no_row_has_a_file(folder, capsys):
    folder.add_png("a.png", 0)
    folder.rows.clear()
    folder.add_row("00000077_000.png")
    message = fail(capsys, folder.run)
    assert "00000077_000" in message
    assert "data/raw/t/files" in message


@pytest.mark.parametrize("row, kind", [({"findings": "No Finding|Gout"}, "'Gout'"), ({"view": "LL"}, "'LL'")])
def test_label_that_is_not_declared(folder, capsys, row, kind):
    good(folder, 1)
    folder.add_png("00000042_000.png", 42, **row)
    message = fail(capsys, folder.run)
    for part in (
        "Data_Entry_2017_v2020.csv",
        "00000042_000.png",
        kind,
        "No Finding, Nodule" if "findings" in row else "PA, AP",
    ):
        assert part in message


def test_missing_column(folder, capsys):
    good(folder, 1)
    folder.write_table(header="Image Index,Finding Labels,Follow-up #,Patient,Age,Sex,View Position,a,b,c,d")
    folder.acquire()
    assert "lacks the column(s) Patient ID" in fail(capsys, folder.prepare)


def test_other_release_of_the_table(folder):
    good(folder, 1)
    names = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position"
    folder.write_table(header=f'\ufeff{names},"OriginalImage[Width,Height]","OriginalImagePixelSpacing[x,y]",')
    folder.acquire()
    folder.prepare()
    assert folder.store.table[0]["sex"] == "F"


def test_empty_patient_and_second_row(folder, capsys):
    good(folder, 1)
    folder.add_row("00000000_000.png")
    assert "two rows" in fail(capsys, folder.run)
    folder.rows.pop()
    folder.add_row("00000001_000.png", patient=" ")
    assert "Patient ID is empty" in fail(capsys, folder.run)


def test_same_name_twice(folder, capsys):
    folder.add_png("00000000_000.png", 0, folder="images_001/images")
    folder.add_png("00000000_000.png", 1, folder="images_002/images")
    folder.rows.pop()
    message = fail(capsys, folder.run)
    assert "images_001/images/00000000_000.png and images_002/images/00000000_000.png" in message


def test_folder_without_a_table(folder):
    folder.add_png("00000001_000.png", 0)
    folder.add_png("00000001_001.png", 1)
    folder.add_png("00000002_000.png", 2)
    folder.acquire()
    folder.prepare()
    rows = folder.store.table
    assert [row["findings"] + row["view"] for row in rows] == [""] * 3
    assert rows[0]["patient"] == rows[1]["patient"] != rows[2]["patient"]
    assert folder.manifest["tables"] == []
    assert "none" in folder.manifest["labels"]


def test_patients_that_cannot_be_told_apart(folder, capsys):
    folder.add_png("IM0001.png", 0)
    folder.acquire()
    with pytest.raises(SystemExit):
        folder.prepare()
    said = capsys.readouterr().err
    assert "IM0001: there is no table" in said and "cannot be kept in one split" in said


def test_two_tables(folder, capsys):
    good(folder, 2)
    folder.write_table()
    folder.acquire()
    (folder.root / "Data_Entry_2017.csv").write_text("Image Index\n")
    folder.acquire()
    assert "2 tables" in fail(capsys, folder.prepare)


def test_official_split(folder, capsys):
    good(folder, 40)
    names = [f"{i:08}_000.png" for i in range(40)]
    (folder.root / "test_list.txt").write_text("\n".join(names[30:]))
    folder.write_table()
    folder.acquire()
    assert "train_val_list.txt is missing" in fail(capsys, folder.prepare)
    (folder.root / "train_val_list.txt").write_text("\n".join(names[:30]))
    folder.acquire()
    folder.prepare()
    splits = {row["id"]: row["split"] for row in folder.store.table}
    assert {name for name, split in splits.items() if split == "test"} == {name[:12] for name in names[30:]}
    assert {"train", "val"} == {splits[name[:12]] for name in names[:30]}
    assert folder.manifest["split"]["official"] is True
    folder.prepare(split="hashed")
    assert {row["split"] for row in folder.store.table[30:]} != {"test"}
    assert folder.manifest["split"]["official"] is False


def test_a_leaking_split_and_an_image_without_one(folder, capsys):
    for i in range(4):
        folder.add_png(f"00000001_00{i}.png", i)
    (folder.root / "train_val_list.txt").write_text("00000001_000.png\n00000001_001.png")
    (folder.root / "test_list.txt").write_text("00000001_002.png\n00000001_003.png")
    folder.write_table()
    folder.acquire()
    assert "is in two splits: 00000001_000 in " in fail(capsys, folder.prepare)
    (folder.root / "test_list.txt").write_text("00000001_002.png")
    folder.acquire()
    assert "00000001_003 is in neither list" in fail(capsys, folder.prepare)
    (folder.root / "test_list.txt").write_text("00000001_001.png")
    folder.acquire()
    assert "00000001_001 is in both lists" in fail(capsys, folder.prepare)


def test_duplicates_are_listed_and_flagged(folder):
    good(folder, 40)
    for i in range(100, 120):
        folder.add_png(f"{i:08}_000.png", seed=i)
        folder.add_file(
            f"{i + 100:08}_000.png", lambda path, i=i: path.write_bytes(path.with_name(f"{i:08}_000.png").read_bytes())
        )
    # The same pixels in another file.
    twin = folder.root / "images" / "00000000_000.png"
    folder.add_file("00000500_000.png", lambda path: Image.open(twin).convert("RGB").save(path))
    folder.run()
    duplicates = folder.manifest["duplicates"]
    assert [group["identical"] for group in duplicates] == ["pixels"] + ["files"] * 20
    assert duplicates[1]["ids"] == ["00000100_000", "00000200_000"]
    split = {row["id"]: row["split"] for row in folder.store.table}
    crossing = sum(len({split[name] for name in group["ids"]}) > 1 for group in duplicates)
    assert folder.manifest["duplicates_across_splits"] == crossing > 0


def test_dead_worker_is_a_message(folder, capsys, monkeypatch):
    with pytest.raises(BrokenProcessPool):
        list(read._in_order(os._exit, iter([3]), workers=2))
    good(folder, 1)

    def die(*_):
        raise BrokenProcessPool
        yield

    monkeypatch.setattr(shard, "read_items", die)
    message = fail(capsys, folder.run)
    assert "a worker process died at images/00000000_000.png" in message


def test_full_disk_is_a_message(folder, capsys, monkeypatch):
    good(folder, 1)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shard, "_row", full)
    assert "the disk is full" in fail(capsys, folder.run)


def test_real_images(folder, shared_data):
    nih = shared_data / "nih-cxr"
    if not nih.is_dir():
        pytest.skip("needs shared/data/nih-cxr")
    (folder.root / "images").mkdir(parents=True)
    for file in sorted((nih / "images").iterdir())[:40]:
        (folder.root / "images" / file.name).symlink_to(file)
    original = sorted((nih / "images_1024").iterdir())  # as upstream has them: some are RGBA
    for file in original:
        (folder.root / "images" / f"{file.stem}.png").unlink(missing_ok=True)
        (folder.root / "images" / file.name).symlink_to(file)
    (folder.root / "Data_Entry_2017_v2020.csv").symlink_to(nih / "Data_Entry_2017_v2020.csv")
    folder.acquire()
    folder.dataset = load_dataset(REPOSITORY / "config" / "datasets" / "nih_cxr14.yaml").model_dump(mode="json")
    folder.prepare()
    assert folder.manifest["quarantined"] == []
    assert len(folder.store.pixels) == len(list((folder.root / "images").iterdir()))
    # A picture of 1024 x 1024 comes out as the same one of 512 x 512.
    at = {row["id"]: i for i, row in enumerate(folder.store.table)}
    for file in original:
        with Image.open(nih / "images" / file.name) as half:
            expected = normalize(Decoded(np.asarray(half, np.float32)[None], (0, 255)), Images(size=64)).pixels[0]
        difference = folder.store.pixels[at[file.stem], 0].astype(float) - expected
        assert np.abs(difference).mean() < 1

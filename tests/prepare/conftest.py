import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from scansynth.acquire.__main__ import main as acquire_main
from scansynth.files import read_json
from scansynth.prepare.__main__ import main as prepare_main
from scansynth.prepare.listing import main as listing_main
from scansynth.prepare.shard import main as shard_main
from scansynth.store import open_store

DATASET = {
    "title": "test set",
    "layout": "nih",
    "findings": ["No Finding", "Nodule", "Effusion"],
    "no_finding": "No Finding",
    "views": ["PA", "AP"],
    "licence": "none",
    "citation": "none",
    "address": "none",
}
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)


def dicom_dataset(stored: np.ndarray, **attributes) -> FileDataset:
    """A minimal DICOM image; attributes are set last, and a value of None removes one."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.PatientName, ds.PatientID = "Doe^Jane", "MRN-4711"
    ds.Rows, ds.Columns = stored.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8 * stored.itemsize
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(np.issubdtype(stored.dtype, np.signedinteger))
    ds.add_new("PixelData", "OW", stored.tobytes())
    for name, value in attributes.items():
        if value is None:
            delattr(ds, name)
        else:
            setattr(ds, name, value)
    return ds


def random_image(seed: int, shape: tuple[int, int] = (80, 80)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def given(*names: str) -> list[str]:
    """Arguments for the files of the raw data."""
    files = {"source": "source.json", "inventory": "inventory.csv", "listing": "listing.json"}
    return [word for name in names for word in (f"--{name}", f"data/raw/t/{files[name]}")]


class Folder:
    """A data set in the NIH layout, and the stages run on it; the working folder is the test's own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.dataset = DATASET
        self.rows: list[list[str]] = []

    def add_row(self, name: str, findings="No Finding", patient="", age="058Y", sex="F", view="PA") -> None:
        self.rows.append([name, findings, "0", patient or name[:8], age, sex, view, "1", "1", "1", "1"])

    def add_png(self, name: str, seed: int, shape=(80, 80), folder="images", **row) -> Path:
        return self.add_file(name, lambda path: Image.fromarray(random_image(seed, shape)).save(path), folder, **row)

    def add_dicom(self, name: str, seed: int, folder="images", **row) -> Path:
        return self.add_file(name, lambda path: dicom_dataset(random_image(seed)).save_as(path), folder, **row)

    def add_file(self, name: str, write, folder="images", **row) -> Path:
        path = self.root / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
        self.add_row(name, **row)
        return path

    def write_table(self, header=HEADER) -> None:
        self.root.mkdir(exist_ok=True)
        with (self.root / "Data_Entry_2017_v2020.csv").open("w", newline="", encoding="utf-8") as handle:
            handle.write(header + "\n")
            csv.writer(handle).writerows(self.rows)

    def acquire(self) -> None:
        settings = {"dataset": self.dataset, "data": {"dataset": "t", "root": str(self.root)}}
        acquire_main(["--settings", json.dumps(settings), "--source", "data/raw/t/source.json"])

    def list(self) -> None:
        listing_main(["--settings", json.dumps({"dataset": self.dataset}), *given("source", "inventory", "listing")])

    def prepare(self, shards: int = 1, slices=None, patches=None, **images) -> None:
        """List, prepare in so many shards, and gather."""
        self.list()
        settings = {"dataset": self.dataset, "images": {"size": 64, **images}}
        settings = json.dumps(settings | {"slices": slices or {}, "patches": patches or {}})
        tables = []
        for number in range(1, shards + 1):
            name = f"{number}-of-{shards}"
            tables.append(f"shards/{name}.json")
            made = ["--pixels", f"shards/{name}.npy", "--masks", f"shards/{name}.masks.npy", "--table", tables[-1]]
            shard_main(["--settings", settings, "--shard", name, *given("source", "listing"), *made])
        arguments = ["--settings", settings, *given("source", "inventory", "listing"), "--shards", *tables]
        for name, suffix in (("pixels", ".npy"), ("masks", "_masks.npy"), ("table", ".csv"), ("manifest", ".json")):
            arguments += [f"--{name}", f"data/images/t_64{suffix}"]
        prepare_main(arguments)

    def run(self, **options) -> None:
        self.write_table()
        self.acquire()
        self.prepare(**options)

    @property
    def store(self):
        return open_store(Path("data/images/t_64.npy"))

    @property
    def manifest(self) -> dict:
        return read_json(Path("data/images/t_64.json"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return Folder(tmp_path / "supplied")


@pytest.fixture
def make_dicom():
    return dicom_dataset


@pytest.fixture
def dicom_bytes():
    def encode(dataset: FileDataset) -> bytes:
        buffer = io.BytesIO()
        dataset.save_as(buffer)
        return buffer.getvalue()

    return encode

"""From the registration to files in place, against a server on loopback that serves what upstream would."""

import hashlib
import io
import json
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from scansynth.acquire.__main__ import main
from scansynth.config import load_dataset
from scansynth.files import read_json

RAW = Path("data/raw/t")
REGISTERED = Path(__file__).resolve().parents[2] / "config" / "datasets"
ABOUT = {"title": "test set", "licence": "CC0", "citation": "Nobody, 2024", "address": "https://example.org"}


class Upstream:
    """A folder that is served on loopback, and how often each file was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, []
        asked = self.asked

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path.lstrip("/"))
                super().do_GET()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def put(self, file: str, content: bytes, **known) -> dict:
        """A file of upstream's, as it is registered."""
        (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / file).write_bytes(content)
        checksum = hashlib.md5(content).hexdigest()
        return {"url": self.url + file, "file": file, "hash": f"md5:{checksum}", "bytes": len(content)} | known


@pytest.fixture
def upstream(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    (tmp_path / "upstream").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    served = Upstream(tmp_path / "upstream")
    yield served
    served.server.shutdown()


def archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(name)
            tar.addfile(info, io.BytesIO(name.encode()))
    return buffer.getvalue()


def acquire(dataset: dict, **data) -> list[str]:
    settings = {"dataset": ABOUT | dataset, "data": {"dataset": "t", **data}}
    main(["--settings", json.dumps(settings), "--source", str(RAW / "source.json")])
    return [line.split(",")[0] for line in (RAW / "inventory.csv").read_text().splitlines()[1:]]


def fail(capsys, dataset: dict, **data) -> str:
    with pytest.raises(SystemExit):
        acquire(dataset, **data)
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message


def nih(upstream) -> dict:
    parts = []
    for number in (1, 2):
        name = f"images_{number:03}"
        content = archive(f"images/0000000{number}_000.png", f"images/0000000{number}_001.png")
        parts.append(upstream.put(f"{name}.tar", content, name=name, folder=name, default=number == 1))
    return {"layout": "nih", "downloads": parts, "how_to_get": "Put the table there."}


def test_the_first_archive_is_fetched_unpacked_and_listed(upstream, capsys):
    assert acquire(nih(upstream)) == [f"images_001/images/00000001_00{i}.png" for i in (0, 1)]
    assert "Put the table there." in capsys.readouterr().out
    source = read_json(RAW / "source.json")
    assert source["origin"] == "download"
    assert [part["name"] for part in source["downloads"]] == ["images_001"]
    assert upstream.asked == ["images_001.tar"]


def test_more_parts_are_added_and_fewer_are_listed_again(upstream):
    acquire(nih(upstream))
    assert len(acquire(nih(upstream), parts=["images_001", "images_002"])) == 4
    assert upstream.asked == ["images_001.tar", "images_002.tar"]
    assert acquire(nih(upstream), parts=["images_002"]) == [f"images_002/images/00000002_00{i}.png" for i in (0, 1)]


def test_an_archive_may_be_deleted_once_it_is_unpacked(upstream):
    first = acquire(nih(upstream))
    (RAW / "downloads" / "images_001.tar").unlink()
    assert acquire(nih(upstream)) == first
    assert upstream.asked == ["images_001.tar"]


def test_the_users_table_beside_the_downloads_is_listed(upstream):
    acquire(nih(upstream))
    (RAW / "files" / "Data_Entry_2017_v2020.csv").write_text("Image Index\n")
    assert acquire(nih(upstream))[0] == "Data_Entry_2017_v2020.csv"


def test_files_are_used_as_they_are(upstream):
    part = upstream.put("chestmnist_128.npz", b"numbers", name="chestmnist_128")
    assert acquire({"layout": "medmnist", "downloads": [part]}) == ["chestmnist_128.npz"]
    acquire({"layout": "medmnist", "downloads": [part]})
    assert upstream.asked == ["chestmnist_128.npz"]


def test_wrong_bytes_are_refused(upstream, capsys):
    part = upstream.put("chestmnist_128.npz", b"numbers", name="chestmnist_128")
    message = fail(capsys, {"layout": "medmnist", "downloads": [part | {"hash": "md5:" + "0" * 32}]})
    assert "chestmnist_128.npz" in message and "0" * 32 in message
    assert not list((RAW / "files").glob("*.npz"))


def test_a_part_that_is_not_offered(upstream, capsys):
    message = fail(capsys, nih(upstream), parts=["images_013"])
    assert "data.parts names images_013; test set offers: images_001, images_002" in message


def test_parts_of_a_catalogue(upstream, capsys):
    upstream.put("C16/images/normal_001.tif", b"slide")
    lines = f"{hashlib.md5(b'slide').hexdigest()}  images/normal_001.tif\n{'0' * 32} *images/tumor_001.tif\n"
    upstream.put("C16/checksums.md5", lines.encode())
    dataset = {"layout": "slides", "catalogue": {"url": upstream.url, "checksums": ["C16/checksums.md5"]}}
    assert "names nothing" in fail(capsys, dataset)
    assert acquire(dataset, parts=["C16/images/normal_001.tif"]) == ["C16/images/normal_001.tif"]
    assert upstream.asked[-1] == "C16/images/normal_001.tif"


def test_a_users_folder_goes_before_a_download(upstream, tmp_path):
    (tmp_path / "mine" / "images").mkdir(parents=True)
    (tmp_path / "mine" / "images" / "00000003_000.png").write_text("x")
    assert acquire(nih(upstream), root=str(tmp_path / "mine")) == ["images/00000003_000.png"]
    assert upstream.asked == []


def test_where_to_get_what_needs_a_login(upstream, capsys):
    message = fail(capsys, {"layout": "rsna", "how_to_get": "Log in to Kaggle."})
    assert "data.root is not set" in message
    assert "stage_2_train_images" in message and "Log in to Kaggle." in message


@pytest.mark.parametrize("file", sorted(REGISTERED.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_registration_is_complete(file):
    dataset = load_dataset(file)
    for text in (dataset.title, dataset.licence, dataset.citation, dataset.address):
        assert text
    for part in dataset.downloads:
        assert part.url.startswith("https://") and part.hash.partition(":")[0] in ("md5", "sha256")
        assert len(part.hash.partition(":")[2]) in (32, 64)


def test_a_login_page_in_place_of_checksums_is_named(upstream, capsys):
    upstream.put("C16/checksums.md5", b"<html>please log in</html>")
    dataset = {"layout": "slides", "catalogue": {"url": upstream.url, "checksums": ["C16/checksums.md5"]}}
    assert "checksums.md5: not a list of checksums" in fail(capsys, dataset, parts=["C16/images/normal_001.tif"])


def test_killed_after_unpacking_goes_on(upstream, monkeypatch):
    from scansynth.acquire import registry

    whole = registry.unpack

    def killed(*args):
        whole(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(registry, "unpack", killed)
    with pytest.raises(KeyboardInterrupt):
        acquire(nih(upstream))
    monkeypatch.setattr(registry, "unpack", whole)
    assert len(acquire(nih(upstream))) == 2
    assert upstream.asked == ["images_001.tar"]

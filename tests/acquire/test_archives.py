import gzip
import io
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import time
import tracemalloc
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scansynth.acquire import archives
from scansynth.acquire.archives import unpack
from scansynth.errors import ScansynthError

FILES = {"images/1.png": b"one" * 1000, "images/deep/er/2.png": random.Random(0).randbytes(70_000), "empty.csv": b""}
KINDS = ["a.tar", "a.tar.gz", "a.tgz", "a.zip", "A.TAR.GZ"]


def pack(path: Path, files: dict[str, bytes], format=tarfile.GNU_FORMAT) -> Path:
    """An archive of the kind that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    else:
        members = [(entry(name), content) for name, content in files.items()]
        pack_tar(path, *members, format=format)
    return path


def entry(name: str, **changes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in changes.items():
        setattr(info, key, value)
    return info


def pack_tar(path: Path, *members: tuple[tarfile.TarInfo, bytes], format=tarfile.GNU_FORMAT) -> Path:
    mode = "w" if path.suffix.lower() == ".tar" else "w:gz"
    with tarfile.open(path, mode, format=format, errors="surrogateescape") as archive:
        for info, content in members:
            if info.isreg():
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refuse(archive: Path, **options) -> str:
    """The message of an archive that is refused and leaves nothing."""
    folder = archive.parent / "out" / "into"
    with pytest.raises(ScansynthError) as caught:
        unpack(archive, folder, **options)
    assert list(folder.parent.iterdir()) == []
    assert str(caught.value).startswith(f"{archive}: ")
    return str(caught.value)


# What is unpacked


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_kind(tmp_path, name, format):
    folder = tmp_path / "deep" / "into"
    paths = unpack(pack(tmp_path / name, FILES, format), folder)
    assert content(folder) == FILES
    assert paths == [folder / file for file in FILES]
    assert list(folder.parent.iterdir()) == [folder]


def test_single_file(tmp_path):
    (tmp_path / "x.h5.gz").write_bytes(gzip.compress(b"data" * 1000))
    assert unpack(tmp_path / "x.h5.gz", tmp_path / "into") == [tmp_path / "into" / "x.h5"]
    assert content(tmp_path / "into") == {"x.h5": b"data" * 1000}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.dictionaries(
        st.from_regex(r"[a-z]{1,3}/[a-zäжß 0-9]{1,120}\.x", fullmatch=True), st.binary(max_size=2000)
    ),
    kind=st.sampled_from(["a.tar", "a.tgz", "a.zip"]),
    format=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_what_was_packed_is_unpacked(tmp_path_factory, files, kind, format):
    folder = tmp_path_factory.mktemp("archive")
    paths = unpack(pack(folder / kind, files, format), folder / "into")
    assert content(folder / "into") == files
    assert len(paths) == len(files)


@pytest.mark.parametrize("name", ["a.tar", "a.zip"])
def test_what_macos_adds_is_left_out(tmp_path, name):
    added = {"images/._1.png": b"x", "__MACOSX/images/._1.png": b"x", "__MACOSX/2.png": b"x"}
    unpack(pack(tmp_path / name, added | FILES), tmp_path / "into")
    assert content(tmp_path / "into") == FILES


def test_folders_of_their_own(tmp_path):
    folders = [(entry(name, type=tarfile.DIRTYPE), b"") for name in (".", "./", "a", "a/", "a/b", "a/b")]
    unpack(pack_tar(tmp_path / "a.tar", *folders, (entry("./a//c"), b"x")), tmp_path / "into")
    assert content(tmp_path / "into") == {"a/c": b"x"}
    assert (tmp_path / "into" / "a" / "b").is_dir()


def test_modes_are_plain(tmp_path):
    members = [
        (entry("d", type=tarfile.DIRTYPE, mode=0), b""),
        (entry("d/a", mode=0o6777), b"x"),
        (entry("b", mode=0), b""),
    ]
    unpack(pack_tar(tmp_path / "a.tar", *members), tmp_path / "into")
    (tmp_path / "plain").touch()
    for file in ("d/a", "b"):
        assert (tmp_path / "into" / file).stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert stat.S_IMODE((tmp_path / "into" / "d").stat().st_mode) == stat.S_IMODE((tmp_path / "into").stat().st_mode)


def test_name_that_is_not_utf8(tmp_path):
    info = entry(b"caf\xe9.png".decode("utf-8", "surrogateescape"))
    unpack(pack_tar(tmp_path / "a.tar", (info, b"x")), tmp_path / "into")
    assert content(tmp_path / "into") == {"café.png": b"x"}


def test_zip_name_of_an_old_code_page(tmp_path):
    pack(tmp_path / "a.zip", {"cafe.png": b"x"})
    damaged = (tmp_path / "a.zip").read_bytes().replace(b"cafe.png", b"caf\x82.png")
    (tmp_path / "a.zip").write_bytes(damaged)
    unpack(tmp_path / "a.zip", tmp_path / "into")
    assert content(tmp_path / "into") == {"café.png": b"x"}


def test_large_archive_in_little_memory(tmp_path):
    block = random.Random(0).randbytes(1000) * 1000
    files = {f"images/{i:05}.png": b"x" for i in range(2000)}
    archive = pack(tmp_path / "a.tar.gz", files | {f"big{i}": block * 16 for i in range(2)})
    del block
    tracemalloc.start()
    try:
        assert len(unpack(archive, tmp_path / "into")) == 2002
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


# What is refused


@pytest.mark.parametrize("kind", ["a.tar", "a.zip"])
@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../a", "a/../../b", "a/..", "..", "\\a", "a\\..\\b", "C:a", "C:\\a", "//host/share/a"]
)
def test_name_that_leads_out(tmp_path, kind, name):
    message = refuse(pack(tmp_path / kind, {"good": b"x", name: b"x"}))
    assert f"member {name!r} leads out of the folder" in message


@pytest.mark.parametrize("kind", ["a.tar", "a.zip"])
@pytest.mark.parametrize(("name", "reason"), [("a\nb", "control character"), ("a/" + 256 * "b", "more than 255 bytes")])
def test_name_that_no_file_should_have(tmp_path, kind, name, reason):
    assert reason in refuse(pack(tmp_path / kind, {"good": b"x", name: b"x"}))


def test_zip_name_with_nul(tmp_path):
    pack(tmp_path / "a.zip", {"a.png#.exe": b"x"})
    (tmp_path / "a.zip").write_bytes((tmp_path / "a.zip").read_bytes().replace(b"a.png#.exe", b"a.png\0.exe"))
    assert "control character" in refuse(tmp_path / "a.zip")


@pytest.mark.parametrize(
    ("type", "kind"),
    [
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.CHRTYPE, "a device, a pipe"),
        (tarfile.BLKTYPE, "a device, a pipe"),
        (tarfile.FIFOTYPE, "a device, a pipe"),
        (tarfile.GNUTYPE_SPARSE, "a device, a pipe or a sparse file"),
        (b"V", "a device, a pipe"),
    ],
)
@pytest.mark.parametrize("target", ["good", "/etc/passwd"])
def test_tar_member_that_is_no_file(tmp_path, type, kind, target):
    members = [(entry("good"), b"x"), (entry("bad", type=type, linkname=target), b"")]
    assert f"member 'bad' is {kind}" in refuse(pack_tar(tmp_path / "a.tar.gz", *members))


@pytest.mark.parametrize(("mode", "kind"), [(stat.S_IFLNK, "a symbolic link"), (stat.S_IFIFO, "a device or a pipe")])
def test_zip_member_that_is_no_file(tmp_path, mode, kind):
    info = zipfile.ZipInfo("bad")
    info.external_attr = (mode | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert f"member 'bad' is {kind}" in refuse(tmp_path / "a.zip")


def test_zip_folder_with_content(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a/", "")
        archive.writestr("a/b/", "x")
    assert "member 'a/b/' is a folder with content" in refuse(tmp_path / "a.zip")


def test_zip_whose_list_is_not_whole(tmp_path):
    """The first member's comment swallows the second member's entry."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in "abc":
            archive.writestr(name, b"x")
        archive.comment = b"with a comment"
    unpack(tmp_path / "a.zip", tmp_path / "into")
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[data.index(b"PK\x01\x02") + 32] = 47
    (tmp_path / "a.zip").write_bytes(data)
    assert "its list of members is not whole" in refuse(tmp_path / "a.zip")


def test_zip_of_more_members_than_16_bits_count(tmp_path):
    data = bytearray(pack(tmp_path / "a.zip", FILES).read_bytes())
    data[-12:-10] = b"\xff\xff"
    (tmp_path / "a.zip").write_bytes(data)
    assert len(unpack(tmp_path / "a.zip", tmp_path / "into")) == 3


def test_encrypted_zip(tmp_path):
    data = bytearray(pack(tmp_path / "a.zip", {"a": b"x"}).read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    assert "member 'a' is encrypted" in refuse(tmp_path / "a.zip")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", ["a.tar", "a.zip"])
@pytest.mark.parametrize(
    "names",
    [("a/b", "a/b"), ("a/b", "a//b"), ("a/b", "./a/b"), ("a/b", "A/B"), ("straße", "STRASSE"), ("é", "e\u0301")],
)
def test_two_members_of_one_name(tmp_path, kind, names):
    if kind == "a.zip":
        with zipfile.ZipFile(tmp_path / kind, "w") as archive:
            for name in names:
                archive.writestr(name, "x")
    else:
        pack_tar(tmp_path / kind, *((entry(name), b"x") for name in names))
    assert f"member {names[1]!r} has the same name as another one" in refuse(tmp_path / kind)


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a/b/c/d"), ("A", "a/b"), ("a/b/c", "a/b"), ("a/b", "A")])
def test_file_where_a_folder_is(tmp_path, names):
    archive = pack_tar(tmp_path / "a.tar", *((entry(name), b"x") for name in names))
    message = refuse(archive)
    assert "needs a folder where another member is a file" in message or "has the same name as another" in message


def test_folder_where_a_file_is(tmp_path):
    archive = pack_tar(tmp_path / "a.tar", (entry("a"), b"x"), (entry("a", type=tarfile.DIRTYPE), b""))
    assert "needs a folder where another member is a file" in refuse(archive)


@pytest.mark.parametrize("name", KINDS)
def test_more_than_allowed(tmp_path, name):
    archive = pack(tmp_path / name, FILES)
    assert "unpack to more than the 60,000 bytes that are allowed or free" in refuse(archive, most_bytes=60_000)
    unpack(archive, tmp_path / "into", most_bytes=90_000)


def test_more_than_the_disk_has_free(tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")(archives.RESERVE + 60_000)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda path: usage)
    assert "more than the 60,000 bytes" in refuse(pack(tmp_path / "a.tar", FILES))


@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip", "a.gz"])
def test_bomb(tmp_path, monkeypatch, name):
    monkeypatch.setattr(archives, "SMALL", 1_000_000)
    zeros = bytes(10_000_000)
    if name == "a.gz":
        (tmp_path / name).write_bytes(gzip.compress(zeros))
        (tmp_path / "mask.gz").write_bytes(gzip.compress(zeros[:900_000]))
    else:
        pack(tmp_path / name, {"zeros": zeros})
        pack(tmp_path / f"mask{name[1:]}", {"zeros": zeros[:900_000]})
    assert "as only decompression bombs do" in refuse(tmp_path / name)
    unpack(tmp_path / f"mask{name[1:]}", tmp_path / "into")  # small enough


def test_header_that_would_fill_the_memory(tmp_path):
    info = entry("a", pax_headers={"comment": "x" * 20_000_000})
    archive = pack_tar(tmp_path / "a.tar.gz", (entry("good"), b"x"), (info, b""), format=tarfile.PAX_FORMAT)
    assert "is followed by a header that is too long" in refuse(archive)


def test_too_many_members(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_MEMBERS", 2)
    assert "member 'empty.csv' is one more than the 2 members" in refuse(pack(tmp_path / "a.tar", FILES))


# Damage


@pytest.mark.parametrize("name", [*KINDS, "a.gz"])
def test_cut_anywhere(tmp_path, name):
    """Only the zeros at the end of a tar may be missing, and not all of them."""
    archive = tmp_path / name
    if name == "a.gz":
        archive.write_bytes(gzip.compress(FILES["images/1.png"]))
    else:
        pack(archive, FILES)
    whole = archive.read_bytes()
    end = len(whole.rstrip(b"\0")) if name == "a.tar" else len(whole)
    for size in {*range(0, min(end, 2000), 97), *range(0, end, 4999), *range(0, end, 512), end - 1, end - 9}:
        archive.write_bytes(whole[:size])
        refuse(archive)


@pytest.mark.parametrize("name", ["a.tar", "a.tgz", "a.zip"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_found_or_does_no_harm(tmp_path, name, data):
    """Headers hold times and owners that may change unnoticed; a tar has no checksum of contents."""
    whole = pack(tmp_path / name, {"a/b.png": b"content" * 20, "c.png": bytes(300), "ä" * 110: b"x"}).read_bytes()
    places = st.tuples(st.integers(0, len(whole) - 1), st.integers(1, 255))
    damaged = bytearray(whole)
    for place, change in data.draw(st.lists(places, min_size=1, max_size=4)):
        damaged[place] ^= change
    archive = tmp_path / f"damaged_{name}"
    archive.write_bytes(damaged)
    before = set(tmp_path.iterdir())
    folder = tmp_path / "into"
    try:
        paths = unpack(archive, folder, most_bytes=10_000_000)
    except ScansynthError:
        assert set(tmp_path.iterdir()) == before
    else:
        shutil.rmtree(folder)
        assert set(tmp_path.iterdir()) == before
        assert len(paths) == 3


@given(content=st.binary(max_size=2000))
@pytest.mark.parametrize("name", ["a.tar", "a.tgz", "a.zip", "a.gz"])
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbage(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert "damaged, cut short or of another kind" in refuse(tmp_path / name)


def test_data_after_the_end(tmp_path):
    archive = pack(tmp_path / "a.tar", FILES)
    archive.write_bytes(archive.read_bytes() * 2)
    assert "no end of the archive after this member" in refuse(archive)


def test_wrong_checksum(tmp_path):
    archive = pack(tmp_path / "a.tar.gz", FILES)
    data = bytearray(archive.read_bytes())
    data[-8] ^= 1
    archive.write_bytes(data)
    assert "CRC check failed" in refuse(archive)


def test_other_kind_of_file(tmp_path):
    (tmp_path / "a.rar").touch()
    with pytest.raises(ScansynthError, match=r"a\.rar: not a kind of archive that is unpacked here"):
        unpack(tmp_path / "a.rar", tmp_path / "into")


def test_archive_that_is_not_there(tmp_path):
    with pytest.raises(ScansynthError, match="there is no such file"):
        unpack(tmp_path / "a.zip", tmp_path / "into")


# The folder


def test_folder_that_is_there(tmp_path):
    archive = pack(tmp_path / "a.zip", FILES)
    (tmp_path / "into").mkdir()
    with pytest.raises(ScansynthError, match="into is there already: move it away"):
        unpack(archive, tmp_path / "into")
    assert content(tmp_path / "into") == {}


def test_failure_of_the_disk_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    archive = pack(tmp_path / "a.zip", FILES)
    monkeypatch.setattr(archives.shutil, "copyfileobj", fail)
    with pytest.raises(OSError, match="No space left"):
        unpack(archive, tmp_path / "into")
    assert list(tmp_path.iterdir()) == [archive]


SLOW = """
import sys, time
from pathlib import Path
from scansynth.acquire import archives
archives._sync = lambda files: time.sleep(60)
archives.unpack(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_killed_run(tmp_path):
    archive = pack(tmp_path / "a.tar.gz", FILES)
    folder = tmp_path / "out" / "into"
    partial = folder.with_name(".into.unpacking")
    process = subprocess.Popen([sys.executable, "-c", SLOW, archive, folder])
    end = time.monotonic() + 20
    while not (partial.exists() and content(partial) == FILES):
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(folder.parent.iterdir()) == [partial]
    (partial / "stale").touch()
    unpack(archive, folder)
    assert content(folder) == FILES
    assert os.listdir(folder.parent) == ["into"]  # noqa: PTH208

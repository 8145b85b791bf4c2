"""Unpack an archive into a folder that is whole or not there, and into nothing outside it.

Archives come from other people: each member is checked before a byte of it is written, and nothing of an archive that
is refused remains.
"""

import gzip
import os
import shutil
import stat
import tarfile
import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from scansynth.errors import ScansynthError

# Deflate shrinks nothing below 1/1032, and only one byte repeated so far. Scans shrink to 1/2 and tables to 1/20, brain
# masks to 1/160, kept as float64 to 1/460; smooth balls as float64 to 1/900. So hardly anything but a bomb is above:
RATIO = 1000
SMALL = 64 * 1024**2  # bytes, to which anything may unpack
RESERVE = 1024**3  # bytes of the disk that are left free
MOST_MEMBERS = 2_000_000
HEADERS = 4 * 1024**2  # bytes between one member's content and the next one's: names, attributes, padding
CHUNK = 1024**2


def unpack(archive: Path, folder: Path, *, most_bytes: int | None = None) -> list[Path]:
    """Unpack a .tar, .tar.gz, .tgz, .zip, or .gz (one file, named without the suffix) into the new ``folder``.

    The files that it then holds, in the archive's order. Members are streamed, and lie in ``.<folder>.unpacking``
    beside the folder until all of them are there. What macOS adds (``__MACOSX``, ``._name``) is left out; names that
    are not UTF-8 are read as Latin-1. ``most_bytes`` is how much it may unpack to, by default what the disk has free
    less 1 GiB. Not to be called for one folder by two processes at once.

    Raises:
        ScansynthError: if the folder is there already, or the archive is not, is damaged or of another kind, unpacks to
            too much, or has a member that is not a plain file or folder below it with a name of its own.
        OSError: with ENOSPC, if the disk fills up meanwhile.
    """
    if folder.exists():
        raise ScansynthError(f"{folder} is there already: move it away to unpack {archive} again")
    members = next((reader for suffix, reader in READERS.items() if archive.name.lower().endswith(suffix)), None)
    if members is None:
        raise ScansynthError(f"{archive}: not a kind of archive that is unpacked here ({', '.join(READERS)})")
    if not archive.is_file():
        raise ScansynthError(f"{archive}: there is no such file")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.unpacking")
    if partial.exists():
        shutil.rmtree(partial)  # what a killed run left
    if most_bytes is None:
        most_bytes = max(0, shutil.disk_usage(folder.parent).free - RESERVE)
    unpacking = _Unpacking(archive, partial, most_bytes)
    try:
        for member in _read(members(unpacking)):
            unpacking.take(member)
        _sync(unpacking.files)
        partial.rename(folder)
    except _RefusedError as error:
        raise ScansynthError(f"{archive}: member {unpacking.member!r} {error}. Nothing was unpacked.") from None
    except (_DamagedError, tarfile.TarError) as error:
        where = f"in or after member {unpacking.member!r}" if unpacking.member else "from its beginning"
        raise ScansynthError(
            f"{archive}: damaged, cut short or of another kind, {where} ({error}). Remove it and fetch it again."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return [folder / file.relative_to(partial) for file in unpacking.files]


class _RefusedError(Exception):
    """What is wrong with a member, or with the archive up to it."""


class _DamagedError(Exception):
    """What a decoder has to say."""


@dataclass(frozen=True)
class _Member:
    """A member as the archive names it; ``content`` is None for a folder, ``fault`` what it is if neither."""

    name: str
    content: BinaryIO | None = None
    fault: str | None = None


class _Unpacking:
    """What was unpacked so far, and the limits to it."""

    def __init__(self, archive: Path, root: Path, most: int):
        self.archive, self.root, self.most = archive, root, most
        self.most_by_ratio = max(SMALL, RATIO * archive.stat().st_size)
        self.spent = 0
        self.member = ""
        self.files: list[Path] = []
        self._members = 0
        self._names: set[str] = set()
        self._folders: set[str] = set()
        root.mkdir()

    def spend(self, size: int) -> None:
        """Count bytes that came out of the archive."""
        self.spent += size
        if self.spent > self.most:
            raise _RefusedError(
                f"and those before it unpack to more than the {self.most:,} bytes that are allowed or free: make room"
            )
        if self.spent > self.most_by_ratio:
            raise _RefusedError(
                f"and those before it unpack to {RATIO} times the size of the archive, as only decompression bombs do"
            )

    def take(self, member: _Member) -> None:
        """Check a member, and write it."""
        self.member = member.name
        self._members += 1
        if self._members > MOST_MEMBERS:
            raise _RefusedError(f"is one more than the {MOST_MEMBERS:,} members an archive may have")
        name = _checked(member.name)
        if name.name.startswith("._") or "__MACOSX" in name.parts:
            return
        if member.fault:
            raise _RefusedError(f"is {member.fault}: only plain files and folders are unpacked")
        path = self.root / name
        if member.content is None:
            self._claim_folders(name)
            path.mkdir(parents=True, exist_ok=True)
            return
        self._claim_folders(name.parent)
        key = _key(name)
        if key in self._names or key in self._folders:
            raise _RefusedError("has the same name as another one, or differs from it only in upper and lower case")
        self._names.add(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as handle:
            shutil.copyfileobj(member.content, handle, CHUNK)
        self.files.append(path)

    def _claim_folders(self, name: PurePosixPath) -> None:
        folders = {_key(folder) for folder in (name, *name.parents)}
        if not self._names.isdisjoint(folders):
            raise _RefusedError("needs a folder where another member is a file")
        self._folders |= folders


class _Metered:
    """A stream whose bytes are counted."""

    def __init__(self, stream: BinaryIO, unpacking: _Unpacking):
        self._stream, self._unpacking = stream, unpacking

    def read(self, size: int) -> bytes:
        try:
            data = self._stream.read(size)
        except Exception as error:  # decoders fail with errors of every kind
            raise _DamagedError(error) from error
        self._unpacking.spend(len(data))
        return data


class _TarStream(_Metered):
    """The bytes of a tar: how many there are, and up to where one is not zero."""

    def __init__(self, stream: BinaryIO, unpacking: _Unpacking):
        super().__init__(stream, unpacking)
        self.end = self.end_of_data = 0
        self.most = HEADERS  # tarfile would read a header of any size into memory

    def read(self, size: int) -> bytes:
        data = super().read(size)
        if content := data.rstrip(b"\0"):
            self.end_of_data = self.end + len(content)
        self.end += len(data)
        if self.end > self.most:
            raise _RefusedError("is followed by a header that is too long")
        return data


def _read(members: Iterator[_Member]) -> Iterator[_Member]:
    try:
        yield from members
    except (_RefusedError, _DamagedError):
        raise
    except Exception as error:  # zipfile's and tarfile's, which are of every kind, too
        raise _DamagedError(error) from error


def _tar(unpacking: _Unpacking) -> Iterator[_Member]:
    with unpacking.archive.open("rb") as stream:
        yield from _tar_members(stream, unpacking)


def _tar_gz(unpacking: _Unpacking) -> Iterator[_Member]:
    with gzip.open(unpacking.archive) as stream:
        yield from _tar_members(stream, unpacking)


def _tar_members(stream: BinaryIO, unpacking: _Unpacking) -> Iterator[_Member]:
    metered = _TarStream(stream, unpacking)
    faults = {tarfile.SYMTYPE: "a symbolic link", tarfile.LNKTYPE: "a hard link"}
    with tarfile.open(fileobj=metered, mode="r|", encoding="utf-8", errors="surrogateescape") as tar:
        while (info := tar.next()) is not None:
            tar.members.clear()  # it would keep all of them
            metered.most = float("inf")
            if info.isdir():
                yield _Member(info.name)
            elif info.isreg() and not info.issparse():
                content = tar.extractfile(info)
                yield _Member(info.name, content)
                while content.read(CHUNK):  # of a member that is left out
                    pass
            else:
                yield _Member(info.name, fault=faults.get(info.type, "a device, a pipe or a sparse file"))
            metered.most = metered.end + HEADERS
        # tarfile takes a header that it cannot read for the end, and a missing end too.
        metered.most = float("inf")
        while metered.read(CHUNK):  # to the end, where gzip has its checksum
            pass
        if metered.end < tar.offset + tarfile.BLOCKSIZE or metered.end_of_data > tar.offset:
            raise tarfile.ReadError("no end of the archive after this member")


def _zip(unpacking: _Unpacking) -> Iterator[_Member]:
    with zipfile.ZipFile(unpacking.archive) as file:
        members = file.infolist()
        if _zip_count(unpacking.archive, file.comment) not in (len(members) % 0x10000, 0xFFFF):
            raise zipfile.BadZipFile("its list of members is not whole")
        for info in members:
            kind = stat.S_IFMT(info.external_attr >> 16)
            name = info.orig_filename  # filename ends at a NUL
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                yield _Member(name, fault="a symbolic link" if kind == stat.S_IFLNK else "a device or a pipe")
            elif info.flag_bits & 1:
                yield _Member(name, fault="encrypted")
            elif info.is_dir():
                yield _Member(name, fault="a folder with content" if info.file_size else None)
            else:
                with file.open(info) as content:
                    yield _Member(name, _Metered(content, unpacking))


def _zip_count(archive: Path, comment: bytes) -> int:
    """The number of members that the record at a zip's end gives, in 16 bits; zipfile does not look at it."""
    with archive.open("rb") as handle:
        handle.seek(-12 - len(comment), os.SEEK_END)
        return int.from_bytes(handle.read(2), "little")


def _gz(unpacking: _Unpacking) -> Iterator[_Member]:
    if unpacking.archive.stat().st_size == 0:
        raise EOFError("it is empty")  # gzip takes that for an empty file
    with gzip.open(unpacking.archive) as content:
        yield _Member(unpacking.archive.name[: -len(".gz")], _Metered(content, unpacking))


READERS = {".tar.gz": _tar_gz, ".tgz": _tar_gz, ".tar": _tar, ".zip": _zip, ".gz": _gz}


def _checked(name: str) -> PurePosixPath:
    """The path of a member below the folder."""
    try:
        name.encode()
    except UnicodeEncodeError:
        name = name.encode(errors="surrogateescape").decode("latin-1")
    path = PurePosixPath(name)
    if ".." in path.parts or "\\" in name or PureWindowsPath(name).anchor:
        raise _RefusedError("leads out of the folder: it is absolute, or has .. or a backslash in it")
    if any(character < " " or character == "\x7f" for character in name):
        raise _RefusedError("has a control character in its name")
    if any(len(part.encode()) > 255 for part in path.parts):
        raise _RefusedError("has a name of more than 255 bytes")
    return path


def _key(name: PurePosixPath) -> str:
    """The same for names that some file systems take for one."""
    return unicodedata.normalize("NFC", name.as_posix().casefold())


def _sync(files: list[Path]) -> None:
    for file in files:
        with file.open("rb") as handle:
            os.fsync(handle.fileno())

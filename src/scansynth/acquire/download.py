"""Fetch a file of upstream into a data set's folder: there it is whole and checked, or not there.

Beside ``<name>`` lie ``.<name>.part`` and ``.<name>.version`` while it is on its way (see ``transfer``) and
``.<name>.lock``. ``.verified.json`` in the folder holds size, time and hash of the files that were checked, so that
gigabytes are not hashed at every start.
"""

import hashlib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock

from scansynth.acquire.transfer import Part, Transfer
from scansynth.errors import ScansynthError
from scansynth.files import read_json, write_json
from scansynth.lock import alone

HASH = re.compile(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}")
CHECKSUM = re.compile(r"([0-9a-fA-F]{32}) [ *](\S.*)")


@dataclass(frozen=True)
class Remote:
    """One file of upstream.

    ``name`` is its path below the folder that it is fetched into, with slashes; ``hash`` is ``md5:<hex>`` or
    ``sha256:<hex>``, None only where upstream publishes none; ``bytes`` is its size where that is known.

    Raises:
        ScansynthError: if the name will not do (see ``check_name``), the address is not HTTP, or the hash is none.
    """

    url: str
    name: str
    hash: str | None
    bytes: int | None

    def __post_init__(self):
        check_name(self.name)
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise ScansynthError(f"{self.name}: its address is {self.url!r}: only http:// and https:// are fetched")
        if self.hash is not None and not HASH.fullmatch(self.hash):
            raise ScansynthError(
                f"{self.name}: its hash is {self.hash!r}; expected md5: or sha256: and lower-case hexadecimal digits"
            )


def check_name(name: str) -> None:
    """Refuse a name that is not plainly a file's below the folder, or that could be one of the helper files above.

    Raises:
        ScansynthError: if it is absolute, or has a backslash, a control character or a part that begins with a dot.
    """
    parts = name.split("/")
    if not all(parts) or any(part.startswith(".") for part in parts) or "\\" in name or not name.isprintable():
        raise ScansynthError(
            f"{name!r} cannot be the name of a file to fetch: expected a relative path such as images/a.tif, in which "
            "no folder or file begins with a dot"
        )


def read_checksums(text: str) -> dict[str, str]:
    """The hashes of a list as md5sum writes it, by name: ``{"images/a.tif": "md5:<hex>"}``.

    Raises:
        ScansynthError: if a line is none of a checksum, a name will not do, or one has two checksums.
    """
    checksums: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        match = CHECKSUM.fullmatch(line.rstrip())
        if not match:
            raise ScansynthError(
                f"list of checksums, line {number}: found {line[:80]!r}, expected 32 hexadecimal digits, two spaces "
                "and a path. What was fetched may be an error page: look into it."
            )
        name = PurePosixPath(match[2]).as_posix()  # without a leading ./
        check_name(name)
        found = f"md5:{match[1].lower()}"
        if checksums.setdefault(name, found) != found:
            raise ScansynthError(f"list of checksums, line {number}: {name} has another checksum further up")
    if not checksums:
        raise ScansynthError("list of checksums: it is empty")
    return checksums


def fetch(
    remote: Remote,
    folder: Path,
    *,
    attempts: int = 5,
    wait: float = 1.0,
    timeout: tuple[float, float] = (30.0, 60.0),
) -> Path:
    """The file of ``remote`` below ``folder``: as it is where it is there and right, else fetched.

    Gives up after ``attempts`` in a row that bring nothing, with ``wait`` seconds after the first of them and twice as
    many after each further one, or what the server asks for; what has arrived stays, and the next start goes on from
    there. ``timeout`` is for connecting and for each read, in seconds. Proxies and certificate authorities are those of
    the environment (HTTPS_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE). A second process waits for the first.

    pooch.retrieve is no help: it drops what a failure cut short, and leaves its temporary file when it is killed.

    Raises:
        ScansynthError: if the server refuses, does not answer, cannot be trusted, or twice sends other bytes than were
            published; if the disk has no room for the file; if another file is there under its name.
        OSError: with ENOSPC, if the disk fills up meanwhile.
    """
    path = folder / remote.name
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone(path.with_name(f".{path.name}.lock"), f"fetching {path}"):
        if path.exists():
            _recheck(remote, folder)
            return path
        part = Part(path)
        transfer = Transfer(remote.url, part, size=remote.bytes, checked=remote.hash is not None, timeout=timeout)
        found = _transfer_twice(transfer, remote, attempts, wait)
        with part.path.open("rb") as handle:
            os.fsync(handle.fileno())
        part.path.replace(path)
        part.discard()
        _remember(remote, folder, found)
    return path


class _WrongError(Exception):
    """A file that is not the published one: what was found instead of what."""


def _transfer_twice(transfer: Transfer, remote: Remote, attempts: int, wait: float) -> str:
    """Bring the whole file into its part, if need be a second time; its hash."""
    for again in (True, False):
        transfer.run(attempts, wait)
        try:
            return _check(transfer.part.path, remote.bytes, remote.hash)
        except _WrongError as error:
            transfer.part.discard()  # nothing tells which of its bytes are wrong
            wrong = error
        if again:
            print(f"{remote.url}: not the published file ({wrong}); fetching it once more", file=sys.stderr)
    raise ScansynthError(
        f"{remote.url}: fetched twice, and neither was the published file: {wrong}. Either upstream has changed it, so "
        f"that the registry's hash is out of date, or a proxy changes it. A file with the right hash that you save "
        f"yourself as {transfer.part.final} is used at the next start."
    )


def _check(path: Path, size: int | None, expected: str | None) -> str:
    """The hash of a file; SHA-256 where none is expected.

    Raises:
        _WrongError: if it or the size is not as expected.
    """
    found_size = path.stat().st_size
    if size not in (None, found_size):
        raise _WrongError(f"{found_size:,} bytes instead of {size:,}")
    algorithm = expected.partition(":")[0] if expected else "sha256"
    with path.open("rb") as handle:
        # Not for security, so that machines in FIPS mode do md5 too.
        digest = hashlib.file_digest(handle, lambda: hashlib.new(algorithm, usedforsecurity=False))
    found = f"{algorithm}:{digest.hexdigest()}"
    if expected not in (None, found):
        raise _WrongError(f"{found} instead of {expected}")
    return found


def _recheck(remote: Remote, folder: Path) -> None:
    """Accept the file that is there by its record, else by its hash."""
    path = folder / remote.name
    known = _records(folder).get(remote.name, {})
    expected = remote.hash or known.get("hash")
    if known == _record(path, expected) and remote.bytes in (None, known["bytes"]):
        return
    try:
        found = _check(path, remote.bytes, expected)
    except _WrongError as error:
        raise ScansynthError(
            f"{path}: not the file of {remote.url}: {error}. Move it away, and start again to fetch it."
        ) from None
    _remember(remote, folder, found)


def _record(path: Path, found: str | None) -> dict[str, Any]:
    stat = path.stat()
    return {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, "hash": found}


def _records(folder: Path) -> dict[str, Any]:
    try:
        return read_json(folder / ".verified.json")
    except (FileNotFoundError, ValueError):
        return {}


def _remember(remote: Remote, folder: Path, found: str) -> None:
    with FileLock(folder / ".verified.lock"):
        records = _records(folder) | {remote.name: _record(folder / remote.name, found)}
        write_json(folder / ".verified.json", dict(sorted(records.items())))

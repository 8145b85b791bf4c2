"""Files that are either whole or not there, and their hashes."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FULL = 64 * 1024  # bytes; with less than this the disk is full
UMASK = os.umask(0)
os.umask(UMASK)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, synced and renamed to it when the block ends well, removed when it does not.

    Raises:
        OSError: with ENOSPC, where the block failed and the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: numpy and matplotlib choose or append by it.
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        partial.chmod(0o666 & ~UMASK)  # safetensors would keep its files from everyone else
        with partial.open("rb") as handle:
            os.fsync(handle.fileno())
        partial.replace(path)
    except Exception as error:
        # safetensors says so in words alone (and has made room again), numpy not even in words.
        if os.strerror(errno.ENOSPC) in str(error) or shutil.disk_usage(path.parent).free < FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, in a form that is the same for the same value. NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def stamp(file: Path) -> list[int]:
    """Size, inode, and the times of its last change and of that of its state: a file with the same is the same."""
    state = file.stat()
    return [state.st_size, state.st_ino, state.st_mtime_ns, state.st_ctime_ns]


def files_of(entries: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Path and hash of each file that a record's inputs or outputs name."""
    for entry in entries.values():
        yield from ((file["path"], file["sha256"]) for file in (entry if isinstance(entry, list) else [entry]))

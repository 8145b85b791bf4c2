"""A file of the inventory, read whole and checked."""

import hashlib
from pathlib import Path

from scansynth.prepare.decoded import RejectedError
from scansynth.prepare.items import File


def read_file(root: Path, file: File) -> bytes:
    """The file's bytes.

    Raises:
        RejectedError: if they cannot be read, or are not those that were acquired.
    """
    try:
        content = (root / file.path).read_bytes()
    except FileNotFoundError:
        raise RejectedError("gone since it was acquired") from None
    except OSError as error:
        raise RejectedError("not readable: no permission, or the disk failed") from error
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise RejectedError("changed since it was acquired: its SHA-256 is another")
    return content

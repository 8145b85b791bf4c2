"""The secret behind the pseudonyms of a private data set: a random key that lies beside its source.json."""

import os
import secrets
from pathlib import Path

from scansynth.errors import ScansynthError
from scansynth.files import sha256

NAME = "pseudonym.key"
BYTES = 32


def make(folder: Path) -> str:
    """Make the key in ``folder`` unless it is there, readable by its owner alone.

    Returns its SHA-256, which gives nothing away.

    Raises:
        ScansynthError: if it is gone: a new one would give every patient another pseudonym, and so another split.
    """
    path = folder / NAME
    if not path.is_file():
        if (folder / "listing.json").is_file():
            raise ScansynthError(
                f"{path}: the key of the pseudonyms is gone: put it back. For new pseudonyms, and so another split of "
                f"the patients, delete {folder / 'listing.json'} and start again"
            )
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
            handle.write(secrets.token_hex(BYTES))
    return sha256(path)


def read(folder: Path) -> bytes:
    """The key in ``folder``.

    Raises:
        ScansynthError: if it is not there or not whole.
    """
    path = folder / NAME
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        key = b""
    if len(key) != BYTES:
        raise ScansynthError(f"{path}: the key of the pseudonyms is not there or not readable: put it back")
    return key

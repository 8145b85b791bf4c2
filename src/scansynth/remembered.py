"""What was computed of a file, kept between runs until the file changes: hashes of large files, digests of code."""

import inspect
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scansynth.files import read_json, sha256, stamp, write_text

STATE = Path(".scansynth")
SETTLED = 50_000_000  # nanoseconds since its last change: before that, a second one may have the same time stamp


class Remembered:
    """``compute`` of a file, a JSON value, from .scansynth/``name``-....json where the file is what it was.

    What another version of the module that computes has found may be wrong: its bytes are in the name.

    A file is taken to be so while size, inode and both of its times are the same: the time of the last change of its
    state cannot be set back by ``touch`` or by a copy. A cache alone: it can be deleted at any time.
    """

    def __init__(self, name: str, compute: Callable[[Path], Any]) -> None:
        version = sha256(Path(inspect.getfile(compute)))[:8]
        self.path, self.compute = STATE / f"{name}-{version}.json", compute
        self.known: dict[str, list[Any]] | None = None
        self.changed = False

    def __call__(self, file: Path) -> Any:
        """Of ``file``, which has to be there."""
        if self.known is None:
            self.known = _read(self.path)
        now, key = stamp(file), str(file.absolute())
        if key in self.known and self.known[key][0] == now:
            return self.known[key][1]
        value = self.compute(file)
        if time.time_ns() - now[-1] > SETTLED:
            self.known[key] = [now, value]
            self.changed = True
        return value

    def save(self) -> None:
        """Keep what was computed since."""
        if self.changed:
            write_text(self.path, json.dumps(self.known))
            self.changed = False


def _read(path: Path) -> dict[str, list[Any]]:
    try:
        return read_json(path)
    except (OSError, ValueError):
        return {}

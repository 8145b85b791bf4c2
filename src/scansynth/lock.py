"""One process at a time. The lock is the kernel's, so that it ends with its holder, however that ended."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def alone(lock: Path, doing: str) -> Iterator[None]:
    """Hold the lock file ``lock``; while another process is ``doing`` the same, say so and wait for it."""
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        print(f"waiting for another process that is {doing}", file=sys.stderr)
        held.acquire()
    try:
        yield
    finally:
        held.release()

"""Worker processes that end with their parent, however that ended."""

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait

from threadpoolctl import threadpool_limits


def pool(workers: int) -> ProcessPoolExecutor:
    """A pool of ``workers`` processes of one thread each.

    Started afresh, not forked: the parent may hold threads (of torch, say) that do not survive a fork. A worker that
    dies raises BrokenProcessPool in the parent; a parent that is killed takes its workers along, which would otherwise
    wait for it for ever and hold its output open.
    """
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start)


def _start() -> None:
    threadpool_limits(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)

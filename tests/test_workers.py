import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures.process import BrokenProcessPool

import psutil
import pytest

from scansynth import workers


def test_results():
    with workers.pool(2) as pool:
        assert list(pool.map(abs, [-1, -2, 3])) == [1, 2, 3]


def test_a_worker_that_dies_is_told():
    with workers.pool(2) as pool, pytest.raises(BrokenProcessPool):
        list(pool.map(os._exit, [1, 1]))


def test_workers_end_with_a_killed_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent("""
        import time
        from scansynth import workers
        if __name__ == "__main__":
            with workers.pool(2) as pool:
                list(pool.map(time.sleep, [0.1, 0.1]))
                print("ready", flush=True)
                time.sleep(60)
        """)
    )
    parent = psutil.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "ready\n"
    children = parent.children(recursive=True)
    assert len(children) >= 2
    parent.send_signal(signal.SIGKILL)
    # The pipe ends only when nobody holds it any more: this is what the workflow's log waits for.
    started = time.monotonic()
    assert parent.stdout.read() == ""
    assert time.monotonic() - started < 20
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []

"""What the tests of several files start from."""

import os

import pytest
import repository
from filelock import FileLock

LONGEST = ("test_slurm", "test_reruns", "test_workflow", "test_experiments")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: processes that take a file each then end at about the same time."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(scope="session")
def finished_repository(tmp_path_factory):
    """A repository whose experiment has run through DVC, committed, its data pushed to a remote that is a folder.

    Made once for all processes of the run: copy it before changing it.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # of all processes; a lone one would find another run's there
    with FileLock(root / "finished.lock"):
        folder = root / "finished"
        if not (root / "finished.done").exists():
            repository.make(folder)
            repository.dvc(folder, "repro")
            repository.dvc(folder, "remote", "add", "--default", "folder", str(root / "remote"))
            repository.dvc(folder, "push")
            repository.commit(folder, "results")
            (root / "finished.done").touch()
    return folder

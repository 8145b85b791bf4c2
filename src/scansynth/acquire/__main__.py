"""Compute a phantom data set, or link to a supplied one, and list its files.

``data/raw/<dataset>/files``          the data set in upstream's own layout: a folder (phantom) or a link (supplied)
``data/raw/<dataset>/inventory.csv``  path relative to files, bytes and SHA-256 of each file that is read later
``data/raw/<dataset>/source.json``    where it comes from and on what terms; written last
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scansynth import stage
from scansynth.acquire import inventory
from scansynth.acquire.layout import EXPECTED, find_files
from scansynth.config import Data
from scansynth.errors import ScansynthError
from scansynth.files import sha256, write_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage from the command line."""
    stage.run("acquire", acquire, outputs=("source",), argv=argv)


def acquire(job: stage.Job) -> None:
    """Make ``files``, ``inventory.csv`` and ``source.json`` in the folder of the job's output.

    Raises:
        ScansynthError: if a supplied folder is not given, not there, not readable, or holds no image.
    """
    dataset, data = job.settings.dataset, job.settings.data
    source = job.outputs["source"]
    files = source.parent / "files"
    source.parent.mkdir(parents=True, exist_ok=True)

    phantom = dataset.origin == "phantom"
    if phantom:
        generate(files, data.count, data.seed)
    root = files if phantom else supplied_folder(data)
    entries = _inventory(root)
    if not phantom:  # only now, so that a folder that will not do leaves the last link in place
        link(files, root)
    inventory.write(source.parent / "inventory.csv", entries)

    facts: dict[str, Any] = {
        "title": dataset.title,
        "origin": dataset.origin,
        "address": dataset.address,
        "licence": dataset.licence,
        "citation": dataset.citation,
        "patients_are_real": not phantom,
        "files": len(entries),
        "bytes": sum(entry.bytes for entry in entries),
        "inventory_sha256": sha256(source.parent / "inventory.csv"),
    }
    if phantom:
        facts["phantom"] = {"count": data.count, "seed": data.seed}
    job.facts |= {"files": facts["files"], "bytes": facts["bytes"]}
    write_json(source, facts)


def generate(files: Path, count: int, seed: int) -> None:
    """Compute ``count`` chest phantoms into the folder ``files``, which is replaced once all of them are there."""
    from scansynth.acquire.phantoms import chest

    partial = files.with_name(".files.partial")
    _remove(partial)  # what a killed run left
    chest.generate(partial, count=count, seed=seed)
    _remove(files)
    partial.rename(files)


def supplied_folder(data: Data) -> Path:
    """The folder that the user has, absolute.

    Raises:
        ScansynthError: if it is not given or not there.
    """
    how = (
        "Set data.root in config/experiments/<experiment>.yaml, or start with "
        "--config '<experiment>={data: {root: /where/it/is}}'. Expected in that folder:\n" + EXPECTED
    )
    if data.root is None:
        raise ScansynthError(f"data.root is not set: {data.dataset} is a data set that you supply. {how}")
    root = Path(data.root).expanduser().resolve()
    if not root.is_dir():
        found = "it is a file" if root.exists() else "there is no such folder"
        raise ScansynthError(f"data.root is {data.root}: {found} ({root}). {how}")
    return root


def link(files: Path, root: Path) -> None:
    """Make ``files`` a symbolic link to ``root``; a link is replaced, a folder never.

    Raises:
        ScansynthError: if ``files`` is a folder other than ``root``.
    """
    if files.is_dir() and not files.is_symlink():
        if files.resolve() == root:
            return  # the user has put the data set where it belongs
        raise ScansynthError(f"{files} is a folder, and a link to {root} is to take its place: move it away")
    partial = files.with_name(".files.partial")
    _remove(partial)
    partial.symlink_to(root, target_is_directory=True)
    partial.replace(files)


def _inventory(root: Path) -> list[inventory.Entry]:
    try:
        return inventory.take(root, find_files(root))
    except OSError as error:
        raise ScansynthError(f"{error.filename}: cannot be read ({error.strerror})") from None


def _remove(path: Path) -> None:
    """Remove a folder that was made here, or a link, never what the link leads to."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


if __name__ == "__main__":
    main()

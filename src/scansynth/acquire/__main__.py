"""Compute a phantom data set, fetch a public one, or link to one that the user has, and list its files.

``data/raw/<dataset>/files``          the data set in upstream's own layout: a folder, or a link to the user's
``data/raw/<dataset>/downloads``      archives, as they came; they may be deleted once they are unpacked
``data/raw/<dataset>/inventory.csv``  path relative to files, bytes and SHA-256 of each file that is read later
``data/raw/<dataset>/pseudonym.key``  the secret behind the patients' pseudonyms (private data sets)
``data/raw/<dataset>/source.json``    where it comes from and on what terms; written last
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scansynth import stage
from scansynth.acquire import inventory, key
from scansynth.acquire.layout import LAYOUTS, find_files
from scansynth.dataset import Dataset, Download
from scansynth.errors import ScansynthError
from scansynth.files import sha256, write_json
from scansynth.sections import Data


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage from the command line."""
    stage.run("acquire", acquire, outputs=("source",), argv=argv)


def acquire(job: stage.Job) -> None:
    """Make ``files``, ``inventory.csv`` and ``source.json`` in the folder of the job's output.

    Raises:
        ScansynthError: if a folder that the user has to supply is not given, not there, not readable, or holds no
            image; if a download fails, or gives other bytes than registered.
    """
    dataset, data = job.settings.dataset, job.settings.data
    source = job.outputs["source"]
    files = source.parent / "files"
    source.parent.mkdir(parents=True, exist_ok=True)

    facts: dict[str, Any] = {
        "title": dataset.title,
        "origin": dataset.origin if data.root is None else "supplied",
        "address": dataset.address,
        "licence": dataset.licence,
        "terms": dataset.terms,
        "citation": dataset.citation,
        "patients_are_real": not dataset.phantom,
    }
    if dataset.phantom and data.root is not None:
        raise ScansynthError(f"data.root is {data.root}, and {data.dataset} is computed: name another data set for it")
    if dataset.private:
        source.parent.chmod(0o700)  # names, dates and the pseudonyms' key lie there
    if dataset.phantom:
        generate(files, dataset.phantom, data.count, data.seed)
        facts["phantom"] = {"count": data.count, "seed": data.seed}
        entries = _inventory(files, dataset.layout)
    elif data.root is not None or dataset.origin == "supplied":
        root = supplied_folder(dataset, data)
        entries = _inventory(root, dataset.layout)
        link(files, root)  # only now, so that a folder that will not do leaves the last link in place
    else:
        fetched = download(files, dataset, data)
        facts["downloads"] = [part.model_dump(include={"name", "url", "hash", "bytes"}) for part in fetched]
        entries = [entry for entry in _inventory(files, dataset.layout) if _wanted(entry, dataset, fetched)]
    inventory.write(source.parent / "inventory.csv", entries)
    facts |= {
        "files": len(entries),
        "bytes": sum(entry.bytes for entry in entries),
        "inventory_sha256": sha256(source.parent / "inventory.csv"),
    }
    if dataset.private:
        facts["pseudonym_key_sha256"] = key.make(source.parent)
    job.facts |= {"files": facts["files"], "bytes": facts["bytes"]}
    write_json(source, facts)


def generate(files: Path, phantom: str, count: int, seed: int) -> None:
    """Compute ``count`` phantoms into the folder ``files``, which is replaced once all of them are there."""
    match phantom:
        case "chest":
            from scansynth.acquire.phantoms.chest import generate
        case "brain":
            from scansynth.acquire.phantoms.brain import generate
        case "tissue":
            from scansynth.acquire.phantoms.tissue import generate
    partial = files.with_name(".files.partial")
    _remove(partial)  # what a killed run left
    generate(partial, count=count, seed=seed)
    _remove(files)
    partial.rename(files)


def download(files: Path, dataset: Dataset, data: Data) -> list[Download]:
    """Fetch the chosen parts of a public data set into the folder ``files``.

    Raises:
        ScansynthError: if ``files`` is a link to a user's folder, which is not written to, or a download fails.
    """
    from scansynth.acquire import registry  # with the libraries of the network, which nothing else here needs

    if files.is_symlink():
        files.unlink()
    files.mkdir(exist_ok=True)
    folder = files.with_name("downloads")
    parts = registry.chosen(dataset, data, folder)
    for part in parts:
        registry.obtain(part, files, folder)
    if dataset.how_to_get:
        print(f"{dataset.title}: {dataset.how_to_get}", flush=True)
    return parts


def supplied_folder(dataset: Dataset, data: Data) -> Path:
    """The folder that the user has, absolute.

    Raises:
        ScansynthError: if it is not given or not there.
    """
    how = (
        "Set data.root in config/experiments/<experiment>.yaml, or start with "
        "--config '<experiment>={data: {root: /where/it/is}}'. Expected in that folder:\n"
        + LAYOUTS[dataset.layout].expected
    )
    if data.root is None:
        get = f"\nHow to get it: {dataset.how_to_get}" if dataset.how_to_get else ""
        raise ScansynthError(f"data.root is not set: {data.dataset} is a data set that you supply. {how}{get}")
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


def _inventory(root: Path, layout: str) -> list[inventory.Entry]:
    try:
        return inventory.take(root, find_files(root, layout))
    except OSError as error:
        raise ScansynthError(f"{error.filename}: cannot be read ({error.strerror})") from None


def _wanted(entry: inventory.Entry, dataset: Dataset, fetched: Sequence[Download]) -> bool:
    """Whether a file below ``files`` is of the parts that were asked for, or the user's own (a table)."""
    if dataset.catalogue:
        return entry.path in {part.file for part in fetched} or entry.path == "labels.csv"
    others = [part for part in dataset.downloads if part not in fetched]
    return not any(entry.path == part.file or entry.path.startswith(f"{part.folder}/") for part in others)


def _remove(path: Path) -> None:
    """Remove a folder that was made here, or a link, never what the link leads to."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


if __name__ == "__main__":
    main()

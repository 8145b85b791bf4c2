"""After a clone and ``dvc pull``: is every file what dvc.lock says, and can work go on from there?"""

import argparse
import sys
from pathlib import Path

import yaml

from scansynth import present
from scansynth.errors import ScansynthError
from scansynth.experiments import Experiments
from scansynth.freshness import settle


def altered() -> list[str]:
    """What is not as dvc.lock has it, a line a file: by its bytes, where DVC alone would take a date's word."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc_data.hashfile.state import StateNoop

    try:
        with Repo() as repo:
            if unmade := sorted({stage.addressing for stage in repo.index.stages} - locked()):
                raise ScansynthError(f"dvc.lock has nothing of {', '.join(unmade)}: `dvc repro` makes what is missing")
            repo.state = repo.cache.local.state = repo.cache.legacy.state = StateNoop()
            found = repo.data_status(granular=True, untracked_files="no")["uncommitted"]
    except DvcException as error:
        raise ScansynthError(f"DVC: {error}") from error
    for path in filter(Path.is_file, map(Path, found.get("modified", []))):
        path.touch()  # so that DVC sees it as well, and puts it back
    words = {"deleted": "is missing", "modified": "is another file than in dvc.lock", "added": "is not in dvc.lock"}
    lines = [f"{path} {words[kind]}" for kind in words for path in sorted(found.get(kind, []))]
    return [line for line in lines if not line.startswith("data/present.json")]


def locked() -> set[str]:
    """The stages of which dvc.lock says what they made."""
    lock = Path("dvc.lock")
    return set(yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"]) if lock.exists() else set()


def restore() -> list[str]:
    """Verify all files against dvc.lock, and settle what Snakemake is to make of them; why any is stale.

    Raises:
        ScansynthError: naming each file that is missing, altered, or too many.
    """
    if found := altered():
        raise ScansynthError(
            "\n  ".join([f"{len(found)} files are not as dvc.lock has them:", *found])
            + "\n`dvc pull` fetches what is missing, `dvc checkout --force` puts back what was altered; "
            "`dvc repro` keeps the present files as new results"
        )
    present.main(["data/present.json"])
    stale = settle(Experiments(Path("config"), {}))
    return sorted({reason for reasons in stale.values() for reason in reasons})


def main() -> int:
    """Say what was found."""
    argparse.ArgumentParser(prog="python -m scansynth.restore", description=__doc__).parse_args()
    try:
        reasons = restore()
    except ScansynthError as error:
        print(f"scansynth restore: {error}", file=sys.stderr)
        return 1
    print("every file is as dvc.lock has it")
    if reasons:
        print("\n  ".join(["not all results are of the present code, configuration and libraries:", *reasons]))
    else:
        print("all results are of the present code, configuration and libraries: nothing has to run")
    return 0


if __name__ == "__main__":
    sys.exit(main())

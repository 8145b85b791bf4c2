"""Which results are what the present configuration, code, data and libraries would give: the others are made again.

Every stage leaves a record beside its first output: hashes of what it read and wrote, its settings, the digests of its
code, the versions of its libraries. A result is fresh while all of that holds. Times of files decide nothing, and
neither does what Snakemake remembers of its last run: both are wrong after a check-out, by DVC or by Git. Snakemake is
told in its own terms: outputs that are stale are marked incomplete, and those that are fresh are dated after their
inputs.
"""

import contextlib
import os
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from scansynth import digest
from scansynth.acquire import inventory
from scansynth.config import parse_settings
from scansynth.errors import ScansynthError
from scansynth.experiments import Experiments
from scansynth.files import files_of, read_json, sha256, write_json
from scansynth.remembered import STATE, Remembered
from scansynth.rules import of_rules
from scansynth.stage import loaded, recorded

MARKS = Path(".snakemake/incomplete")  # where Snakemake keeps a mark for each output that is not to be trusted
REASONS = STATE / "stale.json"  # for people: see ``why``
MADE = (
    *("data/raw/*/*.json", "data/raw/*/*.csv", "data/weights/*.*", "data/images/*.*", "data/images/*_shards/*.*"),
    *("results/*.*", "results/*/*.*", "results/*/*_shards/*.*", "results/*/subsets/*/*.*", "results/*/arms/*/*.*"),
)


@dataclass
class Result:
    """What one job made: its record, the folder-relative paths of what it read and wrote, and why it is stale."""

    path: str
    record: dict[str, Any]
    reasons: list[str] = field(default_factory=list)

    @cached_property
    def inputs(self) -> dict[str, str]:
        """Path and hash of each file that was read."""
        return dict(files_of(self.record["inputs"]))

    @cached_property
    def outputs(self) -> dict[str, str]:
        """Path and hash of each file that was written, without the record."""
        return dict(files_of(self.record["outputs"]))

    @property
    def written(self) -> list[Path]:
        """Those of its files that are there, its record among them."""
        return [path for path in map(Path, [*self.outputs, self.path]) if path.exists()]


def settle(experiments: Experiments) -> dict[str, list[str]]:
    """Hold every record against the present, and tell Snakemake; why each stale output is so, by its path.

    Raises:
        ScansynthError: if a result is a link into DVC's cache.
    """
    hashed = Remembered("hashes", sha256)
    stages: dict[str, Present] = {}
    results = in_order(load())
    refuse_links(results)
    for result in results:
        stage = result.record["stage"]
        if stage not in stages:
            stages[stage] = Present(stage)
        result.reasons = list(reasons(result, stages[stage], experiments, hashed))
    hashed.save()
    stale = {str(path): result.reasons for result in results if result.reasons for path in result.written}
    for path in unvouched(results):
        stale[path] = [f"{path} has no record of how it was made"]
    mark(stale)
    write_json(REASONS, stale)
    fresh = [result for result in results if not result.reasons]
    newest = 0
    for result in fresh:
        with contextlib.suppress(FileNotFoundError):  # temporary, and a Snakemake beside this one has just removed it
            newest = max(newest, date(result))
    date_benchmarks(newest)
    return stale


def refuse_links(results: list[Result]) -> None:
    """Results have to be files of their own: a link shares its bytes and its date with DVC's cache.

    Raises:
        ScansynthError: naming the first that is not.
    """
    if not Path(".dvc").is_dir():
        return
    for path in (path for result in results for path in result.written):
        if path.is_symlink() or path.stat().st_nlink > 1:
            raise ScansynthError(
                f"{path} is a link into DVC's cache, whose bytes it shares: what happens to one happens to the "
                "other. `dvc config --unset --local cache.type; dvc config cache.type reflink,copy; "
                "dvc checkout --relink` makes it a file of its own"
            )


def load() -> list[Result]:
    """All records below results/ and data/; one that cannot be read vouches for nothing."""
    found = []
    for pattern in MADE:
        for path in sorted(Path().glob(pattern)):
            if path.name.endswith(".record.json"):
                try:
                    record = read_json(path)
                    found.append(Result(path.as_posix(), {key: record[key] for key in FIELDS}))
                except (OSError, ValueError, KeyError):
                    continue
    return found


FIELDS = ("stage", "inputs", "outputs", "settings", "digests", "software")


def in_order(results: list[Result]) -> list[Result]:
    """Makers before those that use what they made."""
    maker = {path: result for result in results for path in result.outputs}
    ordered: dict[str, Result] = {}

    def visit(result: Result) -> None:
        if result.path not in ordered and result.path not in waiting:
            waiting.add(result.path)
            for path in result.inputs:
                if path in maker:
                    visit(maker[path])
            ordered[result.path] = result

    waiting: set[str] = set()
    for result in results:
        visit(result)
    return list(ordered.values())


class Present:
    """Code and libraries of a stage as they are now; none of a stage that is no more."""

    def __init__(self, stage: str) -> None:
        self.modules = digest.of_modules(*loaded(stage))
        self.code = digest.of_value(self.modules)
        self.rule = of_rules(*loaded(stage))
        self.libraries = digest.libraries(*loaded(stage))


def reasons(result: Result, present: Present, experiments: Experiments, hashed: Remembered) -> Iterator[str]:
    """In words, what differs between the result's record and the present; a file that is not there is no difference.

    Whether a missing file is needed is for Snakemake to say.
    """
    for path, recorded_hash in (result.inputs | result.outputs).items():
        if Path(path).exists() and hashed(Path(path)) != recorded_hash:
            yield f"{path} is not the file that was {'read' if path in result.inputs else 'made'}"
    yield from _elsewhere(result, experiments)
    yield from _changes(result.record["settings"], wanted(result, experiments), "")
    if changed := sorted(_differing(result.record["digests"].get("modules", {}), present.modules)):
        yield f"code changed: {', '.join(changed)}"
    if result.record["digests"].get("rule") != present.rule:
        yield f"the rule that runs {result.record['stage']} changed"
    software = result.record["software"]
    for library, version in present.libraries.items():
        if software.get(library) != version:
            yield f"{library} was {software.get(library, 'not used')}, is {version}"
    if result.record["stage"] == "acquire":
        yield from _raw(Path(result.path).parent, experiments, hashed)


def wanted(result: Result, experiments: Experiments) -> dict[str, Any]:
    """The settings that the result's stage is told now; those of its record where no experiment asks for it."""
    stage = result.record["stage"]
    try:
        match Path(result.path.removesuffix(".record.json")).parts:
            case "data", "raw", dataset, _:
                text = experiments.shared_settings(stage, dataset)
            case "data", "images", store, *_:
                dataset, size = store.removesuffix("_shards").removesuffix("_sheet").rsplit("_", 1)
                text = experiments.shared_settings(stage, dataset, int(size))
            case "results", figure:
                text = experiments.settings(stage, figure.rsplit("_", 1)[1])
            case "results", name, "subsets", *_ if stage == "train":
                text = experiments.generator_settings(name)
            case "results", name, *_:
                text = experiments.settings(stage, name)
            case _:
                return result.record["settings"]
        return recorded(parse_settings(stage, text))
    except (ScansynthError, KeyError, ValueError, IndexError):
        return result.record["settings"]


def _elsewhere(result: Result, experiments: Experiments) -> Iterator[str]:
    """Image stores that the result was made of, where its experiment now has another one: its data set, or its size."""
    match Path(result.path.removesuffix(".record.json")).parts:
        case "results", figure:
            name = figure.rsplit("_", 1)[-1]
        case "results", name, *_:
            pass
        case _:
            return
    if name not in experiments.experiments:
        return
    store = Path(experiments.images(name))
    read = {Path(path) for path in result.inputs if Path(path).parent == store.parent}
    if others := sorted(
        path.as_posix() for path in read if not re.fullmatch(rf"{store.name}(_masks)?\.\w+", path.name)
    ):
        yield f"{others[0]} was read, {store}{Path(others[0]).suffix} is wanted"


def _raw(folder: Path, experiments: Experiments, hashed: Remembered) -> Iterator[str]:
    """What is wrong with a data set's files, by its inventory; the first finding says enough."""
    try:
        if hashed(folder / "inventory.csv") != read_json(folder / "source.json")["inventory_sha256"]:
            yield f"{folder / 'inventory.csv'} is not the file that was made"
            return
        entries = inventory.read(folder / "inventory.csv")
    except (OSError, ValueError, KeyError):
        yield f"{folder / 'inventory.csv'} or source.json cannot be read"
        return
    files = folder / "files"
    root, supplied = experiments.supplied(folder.name)
    if root is not None and files.resolve() != root.resolve():
        yield f"{files} does not lead to {root}"
        return
    if root is None and files.is_symlink():
        yield f"{files} leads to a folder that data.root no longer names"
        return
    if new := sorted(set(supplied) - {entry.path for entry in entries}):
        yield f"{files / new[0]} is new"
    for entry in entries:
        if not (files / entry.path).is_file():
            yield f"{files / entry.path} is gone"
            return
        if hashed(files / entry.path) != entry.sha256:
            yield f"{files / entry.path} is not the file that was read"
            return


def unvouched(results: list[Result]) -> list[str]:
    """Files where stages put their outputs, that no record speaks of."""
    known = {path for result in results for path in (*result.outputs, result.path)}
    known |= {str(Path(result.path).with_name("inventory.csv")) for result in results}
    found = {path.as_posix() for pattern in MADE for path in Path().glob(pattern) if path.is_file()}
    return sorted(path for path in found - known if not Path(path).name.startswith("."))


def mark(stale: dict[str, list[str]]) -> None:
    """Make Snakemake's marks those of ``stale`` and no others."""
    MARKS.mkdir(parents=True, exist_ok=True)
    marks = {urlsafe_b64encode(path.encode()).decode() for path in stale}
    for there in MARKS.iterdir():
        if there.is_file() and there.name not in marks:
            there.unlink(missing_ok=True)  # a Snakemake beside this one may just have
    for name in marks:
        (MARKS / name).write_text("{}")


def date(result: Result) -> int:
    """See to it that none of a fresh result's files is older than what it was made of; the date of the newest."""
    read = max((Path(path).stat().st_mtime_ns for path in result.inputs if Path(path).exists()), default=0)
    dates = [path.stat().st_mtime_ns for path in result.written]
    if min(dates) >= read:
        return max(dates)
    for path in result.written:
        os.utime(path, ns=(read, read))
    return read


def date_benchmarks(newest: int) -> None:
    """Snakemake holds a benchmark's date against the job's inputs as if it were an output: let none be the older."""
    for path in Path("benchmarks").rglob("*.tsv"):
        if path.stat().st_mtime_ns < newest:
            os.utime(path, ns=(newest, newest))


def _differing(old: dict[str, str], new: dict[str, str]) -> set[str]:
    return {name for name in {*old, *new} if old.get(name) != new.get(name)}


def _changes(old: Any, new: Any, key: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            yield from _changes(old.get(name), new.get(name), f"{key}.{name}" if key else name)
    elif old != new:
        yield f"{key} was {old}, is {new}"

"""Show finished work to people: what each stage took, and the runs in MLflow.

MLflow is a view. Stages write their figures into files; this copies them into MLflow (SQLite in the working folder, or
the server or database that MLFLOW_TRACKING_URI names) once for each state of an experiment, as often as it is called,
by however many at once. A server that is down loses nothing: the next call brings what is missing.
"""

import argparse
import csv
import itertools
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any

from scansynth import digest
from scansynth.files import files_of, read_json, write_json

RESULTS, BENCHMARKS = Path("results"), Path("benchmarks")
ARTIFACTS = ("samples.png", "loss.svg", "memorization.png", "anatomy.svg", "guidance.svg", "augmentation.svg")
DATABASE = "sqlite:///mlflow.db"
SEEN = Path(".scansynth/tracked.json")  # which states were seen where: it saves asking, and may be deleted
CONFLICTS = ("BAD_REQUEST", "INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS")  # another was at the same just then
ATTEMPTS = 10
REFUSED = re.compile(r"[^\w\-. :/]")  # what MLflow takes no metric's name with


def timings(since: float) -> list[tuple[str, float, float]]:
    """Stage, seconds and peak memory (MiB, largest sum over its processes) of each job that ended after ``since``."""
    files = [file for file in BENCHMARKS.glob("*/*.tsv") if file.stat().st_mtime >= since]
    rows = []
    for file in sorted(files, key=lambda file: file.stat().st_mtime):
        row = next(csv.DictReader(file.open(encoding="utf-8"), delimiter="\t"), None)
        if row is None:  # of a job that was killed
            continue
        memory = float(row["max_rss"]) if row["max_rss"] not in ("NA", "-") else 0.0
        rows.append((f"{file.parent.name} {file.stem}", float(row["s"]), memory))
    return rows


def print_timings(rows: list[tuple[str, float, float]]) -> None:
    """A table on standard output; nothing if no job ran."""
    if rows:
        print(f"\n{'stage':32}{'seconds':>10}{'MiB':>8}")
        for stage, seconds, memory in rows:
            print(f"{stage:32}{seconds:10.1f}{memory:8.0f}")
        print(f"{'sum, largest':32}{sum(row[1] for row in rows):10.1f}{max(row[2] for row in rows):8.0f}\n")


def records(name: str) -> dict[str, Any]:
    """The records of an experiment's outputs, by stage, and by file as well where it made several.

    Without those of which an input has been made anew since: they are of another state than the rest.
    """
    files = [*RESULTS.glob(f"{name}/*.record.json"), *RESULTS.glob(f"*_{name}.record.json")]
    found = of_one_state({file.name.removesuffix(".record.json"): read_json(file) for file in files})
    ran = Counter(record["stage"] for record in found.values())
    keys = {file: one["stage"] if ran[one["stage"]] == 1 else f"{one['stage']}.{file}" for file, one in found.items()}
    return {key: found[file] for file, key in sorted(keys.items(), key=itemgetter(1))}


def of_one_state(found: dict[str, Any]) -> dict[str, Any]:
    """The records whose inputs are what the others of them say was made, if they say anything of it."""
    made = {path: sha for record in found.values() for path, sha in files_of(record["outputs"])}
    while stale := {
        name: record
        for name, record in found.items()
        if any(made.get(path, sha) != sha for path, sha in files_of(record["inputs"]))
    }:
        made |= dict.fromkeys(made_by(stale), "")  # what reads these is stale, too
        found = {name: record for name, record in found.items() if name not in stale}
    return found


def made_by(found: dict[str, Any]) -> set[str]:
    """Paths of the files that the records speak of as made."""
    return {path for record in found.values() for path, _ in files_of(record["outputs"])}


def numbers(value: Any) -> Iterator[tuple[str, float]]:
    """All numbers of a JSON value as (keys joined by dots, number)."""
    return (
        (path, float(leaf))
        for path, leaf in leaves(value)
        if isinstance(leaf, int | float) and not isinstance(leaf, bool)
    )


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """All values of a nested mapping as (keys joined by dots, value)."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else key)
    else:
        yield path, value


def state(name: str) -> str:
    """What an experiment's present outputs, and the settings that they were made with, are known by."""
    return digest.of_value({stage: [one["outputs"], one["settings"]] for stage, one in records(name).items()})


def log_experiment(client: Any, name: str) -> bool:
    """Log the present state of an experiment as one MLflow run; false if it is there already.

    MLflow keeps no tag unique. So who makes a run looks again, and of several runs of one state the eldest stays. All
    else that is logged may be logged twice and is there once, so that two who fill the eldest don't hurt each other.
    """
    from mlflow.exceptions import MlflowException

    for attempt in itertools.count(1):
        try:
            return _log(client, name)
        except MlflowException as error:
            if attempt == ATTEMPTS or error.error_code not in CONFLICTS:
                raise


def _log(client: Any, name: str) -> bool:
    from mlflow.entities import Metric, Param, RunTag

    found, key = records(name), state(name)
    experiment = client.get_experiment_by_name(name)
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(name)
    run = _eldest(client, experiment_id, key)
    if run is None:
        client.create_run(experiment_id, tags={"scansynth.key": key})
        run = _eldest(client, experiment_id, key)
    if run.info.status == "FINISHED":
        return False
    settings = {section: values for record in found.values() for section, values in record["settings"].items()}
    items = {
        "params": [Param(path, str(value)) for path, value in leaves(settings)],
        "tags": [RunTag(f"code.{stage}", record["digests"]["code"]) for stage, record in found.items()],
        "metrics": [Metric(*metric) for metric in _metrics(name, found)],
    }
    for kind, size in {"params": 100, "tags": 100, "metrics": 1000}.items():  # the most that MLflow takes at once
        for start in range(0, len(items[kind]), size):
            client.log_batch(run.info.run_id, **{kind: items[kind][start : start + size]})
    for file in _made([*(RESULTS / name / artifact for artifact in ARTIFACTS), *_result_files(name)], found):
        client.log_artifact(run.info.run_id, str(file))
    client.set_terminated(run.info.run_id)
    return True


def _eldest(client: Any, experiment_id: str, key: str) -> Any:
    """The first run of a state, finished or cut off, or None; later ones give way to it."""
    runs = client.search_runs([experiment_id], f"tags.`scansynth.key` = '{key}'")
    eldest, *others = sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id)) or [None]
    for other in others:
        client.delete_run(other.info.run_id)
    return eldest


def _result_files(name: str) -> Iterator[Path]:
    return (file for file in sorted(RESULTS.glob(f"*_{name}.json")))


def _made(files: Iterable[Path], found: dict[str, Any]) -> list[Path]:
    """Those of the files that are there, and that the records speak of as made."""
    made = made_by(found)
    return [file for file in files if file.as_posix() in made and file.exists()]


def _metrics(name: str, found: dict[str, Any]) -> Iterator[tuple[str, float, int, int]]:
    """Metric, value, time (0: no clock in what is logged) and step."""
    for losses in _made([RESULTS / name / "train.jsonl"], found):
        for row in map(json.loads, losses.read_text(encoding="utf-8").splitlines()):
            yield from ((metric, value, 0, row["step"]) for metric, value in row.items() if metric != "step")
    for file in _made(_result_files(name), found):
        kind = file.name.removesuffix(f"_{name}.json")
        yield from ((REFUSED.sub("_", f"{kind}.{path}"), value, 0, 0) for path, value in numbers(read_json(file)))
    yield from ((f"seconds.{stage}", record["seconds"], 0, 0) for stage, record in found.items())


def sync(asking: bool = True) -> None:
    """Log every experiment under results/ whose state MLflow does not have yet.

    Without ``asking``, what was seen there once is taken to be there still: where nothing is new, MLflow is not loaded.
    """
    address = os.environ.get("MLFLOW_TRACKING_URI") or DATABASE
    states = {name: state(name) for name in sorted(file.parent.name for file in RESULTS.glob("*/trained.record.json"))}
    if not (states if asking else _unseen(address, states)):
        return
    # A server that is down is to be told from one that is slow in seconds, not in minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with _alone_with(address):
            client = MlflowClient(address)
            for name in states if asking else _unseen(address, states):
                if log_experiment(client, name):
                    print(f"MLflow: logged {name}; `make ui` shows it")
            write_json(SEEN, _seen() | {_place(address): states})
    except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
        print(
            f"MLflow at {re.sub('//[^/]*@', '//', address)} did not answer ({error}). All figures are in results/; "
            "`python -m scansynth.tracking` logs them once it does.",
            file=sys.stderr,
        )


def _seen() -> dict[str, dict[str, str]]:
    """States by experiment, by place."""
    try:
        return read_json(SEEN)
    except (OSError, ValueError):
        return {}


def _unseen(address: str, states: dict[str, str]) -> list[str]:
    """The experiments whose state has not been seen at the address."""
    seen = _seen().get(_place(address), {})
    return [name for name, key in states.items() if seen.get(name) != key]


def _place(address: str) -> str:
    """A database, without its address, which may hold a password. A SQLite file that was made anew is another one."""
    file = Path(address.removeprefix("sqlite:///"))
    return digest.of_value([address, file.stat().st_ino if file.is_file() else None])


@contextmanager
def _alone_with(address: str) -> Iterator[None]:
    """Hold others off the database: MLflow makes and migrates one without a look at who else does.

    Those on other machines, too, where PostgreSQL is reached directly. A server of MLflow sees to its own.
    """
    if address.startswith("postgresql"):
        import sqlalchemy

        with sqlalchemy.create_engine(address, poolclass=sqlalchemy.NullPool).begin() as connection:
            connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(hashtext('scansynth'))"))
            yield
    else:
        from scansynth.lock import alone

        file = Path(address.removeprefix("sqlite:///") if address.startswith("sqlite:") else "server")
        lock = file.parent / ".scansynth/locks" / f"{file.name}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with alone(lock, "bringing MLflow up to date"):
            yield


def main() -> None:
    """Print what the jobs took that ended after ``--since`` (seconds of the epoch), and bring MLflow up to date.

    Without ``--since``, MLflow is asked for all, and what it has lost is logged again.
    """
    parser = argparse.ArgumentParser(prog="python -m scansynth.tracking", description=main.__doc__)
    parser.add_argument("--since", type=float)
    since = parser.parse_args().since
    if since is not None:
        print_timings(timings(since))
    sync(asking=since is None)


if __name__ == "__main__":
    main()

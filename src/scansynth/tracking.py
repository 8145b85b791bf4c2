"""Show finished work to people: what each stage took, and the runs in MLflow.

MLflow is a view. Stages write their figures into files; this copies them into MLflow (SQLite in the working folder, or
the server that MLFLOW_TRACKING_URI names) once for each state of an experiment, as often as it is called. A server that
is down loses nothing: the next call brings what is missing.
"""

import argparse
import csv
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scansynth import digest
from scansynth.files import read_json

RESULTS, BENCHMARKS = Path("results"), Path("benchmarks")
ARTIFACTS = ("samples.png", "loss.svg", "memorization.png", "anatomy.svg")
DATABASE = "sqlite:///mlflow.db"
REFUSED = re.compile(r"[^\w\-. :/]")  # what MLflow takes no metric's name with


def timings(since: float) -> list[tuple[str, float, float]]:
    """Stage, seconds and peak memory (MiB, largest sum over its processes) of each job that ended after ``since``."""
    files = [file for file in BENCHMARKS.glob("*/*.tsv") if file.stat().st_mtime >= since]
    rows = []
    for file in sorted(files, key=lambda file: file.stat().st_mtime):
        row = next(csv.DictReader(file.open(encoding="utf-8"), delimiter="\t"))
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
    """The records of an experiment's outputs by stage, as far as there are any."""
    files = [*RESULTS.glob(f"{name}/*.record.json"), *RESULTS.glob(f"*_{name}.record.json")]
    found = [read_json(file) for file in files]
    return {record["stage"]: record for record in sorted(found, key=lambda record: record["stage"])}


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


def log_experiment(client: Any, name: str) -> str | None:
    """Log the present state of an experiment as one MLflow run; its id, or None if it is there already."""
    from mlflow.entities import Metric, Param, RunTag

    found = records(name)
    key = digest.of_value({stage: record["outputs"] for stage, record in found.items()})
    experiment = client.get_experiment_by_name(name)
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(name)
    for run in client.search_runs([experiment_id], f"tags.`scansynth.key` = '{key}'"):
        if run.info.status == "FINISHED":
            return None
        client.delete_run(run.info.run_id)  # cut off while it was logged: once more from the start
    run = client.create_run(experiment_id, tags={"scansynth.key": key})
    settings = {section: values for record in found.values() for section, values in record["settings"].items()}
    params = [Param(path, str(value)) for path, value in leaves(settings)]
    tags = [RunTag(f"code.{stage}", record["digests"]["code"]) for stage, record in found.items()]
    client.log_batch(run.info.run_id, params=params, tags=tags)
    for batch in _batches(list(_metrics(name, found)), 1000):
        client.log_batch(run.info.run_id, metrics=[Metric(*metric) for metric in batch])
    for file in [RESULTS / name / artifact for artifact in ARTIFACTS] + list(_result_files(name)):
        if file.exists():
            client.log_artifact(run.info.run_id, str(file))
    client.set_terminated(run.info.run_id)
    return run.info.run_id


def _result_files(name: str) -> Iterator[Path]:
    return (file for file in sorted(RESULTS.glob(f"*_{name}.json")))


def _metrics(name: str, found: dict[str, Any]) -> Iterator[tuple[str, float, int, int]]:
    """Metric, value, time (0: no clock in what is logged) and step."""
    losses = RESULTS / name / "train.jsonl"
    for line in losses.read_text(encoding="utf-8").splitlines() if losses.exists() else ():
        row = json.loads(line)
        yield from ((metric, value, 0, row["step"]) for metric, value in row.items() if metric != "step")
    for file in _result_files(name):
        kind = file.name.removesuffix(f"_{name}.json")
        yield from ((REFUSED.sub("_", f"{kind}.{path}"), value, 0, 0) for path, value in numbers(read_json(file)))
    yield from ((f"seconds.{stage}", record["seconds"], 0, 0) for stage, record in found.items())


def _batches(items: list[Any], size: int) -> Iterator[list[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def sync() -> None:
    """Log every experiment under results/ whose state MLflow does not have yet."""
    names = sorted(file.parent.name for file in RESULTS.glob("*/model.record.json"))
    if not names:
        return
    # A server that is down is to be told from one that is slow in seconds, not in minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    address = os.environ.get("MLFLOW_TRACKING_URI", DATABASE)
    try:
        client = MlflowClient(address)
        for name in names:
            if log_experiment(client, name):
                print(f"MLflow: logged {name}; `make ui` shows it")
    except (MlflowException, OSError) as error:
        print(
            f"MLflow at {address} did not answer ({error}). All figures are in results/; "
            "`python -m scansynth.tracking` logs them once it does.",
            file=sys.stderr,
        )


def main() -> None:
    """Print what the jobs took that ended after ``--since`` (seconds of the epoch), and bring MLflow up to date."""
    parser = argparse.ArgumentParser(prog="python -m scansynth.tracking", description=main.__doc__)
    parser.add_argument("--since", type=float, default=float("inf"))
    print_timings(timings(parser.parse_args().since))
    sync()


if __name__ == "__main__":
    main()

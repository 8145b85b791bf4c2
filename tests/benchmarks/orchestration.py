"""What the workflow costs beside the work of its stages: a share of the main job, and the time to find nothing to do.

``python tests/benchmarks/orchestration.py --folder EMPTY [--repeats 5] [--output F]``

The main job runs as shipped, from nothing. Of its wall time, ``outside_jobs`` is what no job was running in
(Snakemake's own), and ``outside_stages`` counts the start of each job's process, with its imports, as well. Nothing to
do: for a finished experiment made small, alone and with 49 more of its kind, asked for one of their results or for all;
beside it, in turns, Snakemake with one finished rule and nothing else, which is what no workflow can do without.

Writes JSON.
"""

import argparse
import csv
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
import repository
from small import REPO

REPORT = "results/fid_{}.json"
OTHERS = [f"copy{number:02}" for number in range(1, 50)]


def seconds(folder: Path, *arguments: str) -> float:
    """Wall time of Snakemake, which has to end well."""
    started = time.monotonic()
    done = repository.call(folder, "snakemake", *arguments)
    taken = time.monotonic() - started
    assert done.returncode == 0, done.stdout
    return taken


def main_job(folder: Path) -> dict[str, float | int]:
    """The main job's wall time, and how much of it is not its stages'."""
    subprocess.run(["git", "clone", "--quiet", REPO, folder], check=True)
    words = [sys.executable, "-m", "snakemake", "--notemp", REPORT.format("cxr")]  # shards have records, too
    started = time.monotonic()
    subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall = time.monotonic() - started
    jobs, stages = [], []
    for benchmark in folder.glob("benchmarks/**/*.tsv"):  # written as its job ends
        with benchmark.open(newline="") as rows:
            (row,) = csv.DictReader(rows, delimiter="\t")
        end = benchmark.stat().st_mtime
        jobs.append((end - float(row["s"]), end))
    for path in [*folder.glob("data/**/*.record.json"), *folder.glob("results/**/*.record.json")]:
        end = path.stat().st_mtime
        stages.append((end - json.loads(path.read_text())["seconds"], end))
    shares = {"outside_jobs": 1 - covered(jobs) / wall, "outside_stages": 1 - covered(stages) / wall}
    return {"seconds": round(wall, 1), "jobs": len(jobs), **{name: round(share, 3) for name, share in shares.items()}}


def covered(intervals: list[tuple[float, float]]) -> float:
    """Length of the union of intervals (start, end)."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def multiply(folder: Path) -> None:
    """The finished experiment under 49 more names, with all of its results."""
    there = [path for part in ("config/experiments", "results", "benchmarks") for path in folder.glob(f"{part}/**/*")]
    for path in there:
        name = path.relative_to(folder).as_posix()
        if path.is_file() and "cxr" in name:
            for other in OTHERS:
                copy(path, folder / name.replace("cxr", other), other)


def copy(path: Path, to: Path, name: str) -> None:
    """A file of the experiment as one of the experiment ``name``, with its date."""
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, to)
    if path.name.endswith(".record.json"):  # it names the files
        to.write_text(path.read_text().replace("cxr", name))
        shutil.copystat(path, to)


def nothing_to_do(folder: Path, names: list[str], repeats: int) -> dict[str, dict[str, float | list[float]]]:
    """Median and range of the wall time of a call that has nothing to do, of a bare one, and of their ratio."""
    targets, bare = [REPORT.format(name) for name in names], one_rule(folder / "bare")
    for where, wanted in ((folder, targets), (bare, ["done"])):  # the first also fills caches
        assert "Nothing to be done" in repository.snakemake(where, *wanted)
    pairs = [(seconds(folder, "--cores", "1", *targets), seconds(bare, "--cores", "1", "done")) for _ in range(repeats)]
    found = {"ours": [ours for ours, _ in pairs], "bare": [bare for _, bare in pairs]}
    found["ratio"] = [ours / bare for ours, bare in pairs]
    return {
        name: {"median": round(statistics.median(v), 2), "range": [round(min(v), 2), round(max(v), 2)]}
        for name, v in found.items()
    }


def one_rule(folder: Path) -> Path:
    """A workflow of one rule whose output is there."""
    folder.mkdir(exist_ok=True)
    (folder / "Snakefile").write_text('rule done:\n    output: "done"\n    shell: "touch {output}"\n')
    repository.snakemake(folder, "done")
    return folder


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("orchestration.json"))
    options = parser.parse_args()
    small = repository.make(options.folder / "small")
    repository.snakemake(small, REPORT.format("cxr"))
    found = {"nothing_to_do": {"1 experiment": nothing_to_do(small, ["cxr"], options.repeats)}}
    multiply(small)
    found["nothing_to_do"]["50 experiments, one asked for"] = nothing_to_do(small, ["cxr"], options.repeats)
    found["nothing_to_do"]["50 experiments, all asked for"] = nothing_to_do(small, ["cxr", *OTHERS], options.repeats)
    print(json.dumps(found, indent=2), flush=True)
    found["main_job"] = main_job(options.folder / "main")
    text = json.dumps(found, indent=2)
    print(text)
    options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Say in words what has to run for some results, and why: ``python -m scansynth.why results/fid_cxr.json``."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from scansynth.freshness import REASONS

JOB = ("rule ", "localrule ", "checkpoint ", "localcheckpoint ")


def jobs(printed: str) -> list[dict[str, str]]:
    """The jobs of a dry run, in the order in which it prints them: ``rule``, ``output``, ``reason`` and so on."""
    found: list[dict[str, str]] = []
    for line in printed.splitlines():
        if line.startswith(JOB) and line.endswith(":"):
            found.append({"rule": line.split()[1].rstrip(":")})
        elif found and line.startswith("    ") and ": " in line:
            key, value = line.strip().split(": ", 1)
            found[-1].setdefault(key, value)
    return found


def explained(job: dict[str, str], stale: dict[str, list[str]], makers: dict[str, str]) -> str:
    """Why a job runs, in a line."""
    outputs = job.get("output", "").split(", ")
    if own := sorted({reason for path in outputs for reason in stale.get(path, [])}):
        return "; ".join(own)
    missing = [path for path in outputs if not Path(path).exists()]
    if before := sorted({makers[path] for path in job.get("input", "").split(", ") if path in makers}):
        return f"{'made from' if missing else 'follows'} {', '.join(before)}"
    return f"{missing[0]} is not there" if missing else job.get("reason", "").lower()


def main(argv: list[str] | None = None) -> int:
    """Print the jobs that Snakemake would run for its arguments (targets, --config and so on), each with its reason."""
    parser = argparse.ArgumentParser(prog="python -m scansynth.why", description=main.__doc__)
    _, arguments = parser.parse_known_args(argv)
    command = [sys.executable, "-m", "snakemake", "--dry-run", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        print(done.stdout)
        return done.returncode
    found, stale = jobs(done.stdout), json.loads(REASONS.read_text(encoding="utf-8"))
    makers = {path: job["rule"] for job in found for path in job.get("output", "").split(", ")}
    for job in found:
        print(f"{job['rule']} ({job.get('wildcards', 'once')}): {explained(job, stale, makers)}")
    if not found:
        print("nothing has to run")
    return 0


if __name__ == "__main__":
    sys.exit(main())

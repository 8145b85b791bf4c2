"""Snakemake on this repository's workflow, its experiments made small."""

import json
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
SMALL = {
    "data": {"count": 60},
    "images": {"size": 64},
    "network": {"base_channels": 32, "multipliers": [1], "attention": [False]},
    "train": {"steps": 6, "batch": 4, "warmup": 2, "checkpoint_every": 3, "validate_every": 3},
    "calibrate": {"pilot": 64},
    "sample": {"count": 12, "steps": 4, "batch": 4},
    "guidance": {"scales": [1, 2], "count": 8},
    "probe": {"steps": 5},
    "evaluate": {"bootstrap": 5, "kid_subset": 5, "kid_subsets": 3},
    "reader": {"steps": 4},
    "filters": {"copies": True, "finding": 0.1, "view": True},
    "segmenter": {"count": 8, "steps": 3},
    "likelihood": {"count": 10, "steps": 2},
}


def command(*arguments, experiment="cxr", **sections):
    """Snakemake on this repository's workflow, an experiment made small."""
    config = json.dumps({name: SMALL.get(name, {}) | sections.get(name, {}) for name in {*SMALL, *sections}})
    # One core: networks this small gain nothing from a second thread, and wait for it on a busy machine.
    base = [sys.executable, "-m", "snakemake", "--snakefile", str(REPO / "workflow" / "Snakefile"), "--cores", "1"]
    return [*base, *arguments, "--config", f"{experiment}={config}"]


def run(folder, *arguments, **sections):
    return subprocess.run(command(*arguments, **sections), cwd=folder, capture_output=True, text=True)

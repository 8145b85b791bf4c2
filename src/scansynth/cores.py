"""How many cores a stage may use."""

import os


def granted() -> int:
    """What the workflow granted (Snakemake says so in OMP_NUM_THREADS), else what the system lets this process use."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdigit() and int(told) > 0:
        return int(told)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

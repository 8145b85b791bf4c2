"""How many cores a stage may use."""

import os


def granted() -> int:
    """What the workflow granted (Snakemake says so in OMP_NUM_THREADS), else what the system lets this process use."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdigit() and int(told) > 0:
        return int(told)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def of_each_job(here: int, main: bool) -> int:
    """Cores of each job that computes, where ``here`` are those that this Snakemake, the ``main`` one or a job's, has.

    A job on a cluster is told by its environment: its own Snakemake takes all cores that it sees, which on nodes that
    do not bind jobs are everybody's; and the last bits of a result depend on how many there are.
    """
    if main:
        os.environ["SCANSYNTH_CORES"] = str(here)
    return int(os.environ.get("SCANSYNTH_CORES", here))

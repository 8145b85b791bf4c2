"""The workflow on a real Slurm through its profile: whatever befalls its jobs, the bytes are those of a local run."""

import shutil
import signal
import subprocess

import psutil
import pytest
import repository
import slurm
import yaml
from small import REPO, SMALL, command
from test_reruns import to_call, to_run

from scansynth import files

MODEL, SAMPLES = "results/cxr/trained.safetensors", "results/cxr/samples.npy"
SECTIONS = {"train": SMALL["train"] | {"steps": 120, "accumulate": 2, "checkpoint_every": 5}}
PROFILE = ["--profile", str(REPO / "workflow" / "profiles" / "slurm"), "--slurm-init-seconds-before-status-checks", "3"]
TOGETHER = ["pca", "untrained", "probe", "reader", "extract", "features", "memorization", "picture", "likelihood"]
TOGETHER += ["fid", "inception_score", "coverage", "diversity", "anatomy", "figures"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    if reason := slurm.missing():
        pytest.skip(reason)
    with slurm.Slurm(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture(scope="module")
def undisturbed(cluster, tmp_path_factory):
    """What the workflow gives without Slurm."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = subprocess.run(command(SAMPLES, **SECTIONS), cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def folder(undisturbed, tmp_path):
    """A working folder with the finished image store."""
    for name in ("data", ".snakemake/metadata"):
        shutil.copytree(undisturbed / name, tmp_path / name)
    yield tmp_path
    # Without cgroups, Slurm does not see every process of a job that it ends.
    for process in psutil.process_iter(["cwd"]):
        if process.info["cwd"] == str(tmp_path):
            process.kill()


def submit(folder, *arguments):
    """Start the workflow on Slurm."""
    words = command(*arguments, *PROFILE, **SECTIONS)
    with (folder / "printed.txt").open("w") as printed:
        return subprocess.Popen(words, cwd=folder, stdout=printed, stderr=subprocess.STDOUT)


def succeeded(process, folder):
    status = process.wait(900)
    printed = (folder / "printed.txt").read_text()
    logs = [path.read_text()[-2000:] for path in folder.glob(".snakemake/slurm_logs/**/*.log")]
    assert status == 0, "\n".join([printed[-6000:], *logs])
    return printed


def same(folder, undisturbed, *names):
    for name in names:
        assert files.sha256(folder / name) == files.sha256(undisturbed / name), name


class Training:
    """The job that trains, as Slurm and its files show it."""

    def __init__(self, cluster, folder, driver):
        self.cluster, self.folder, self.driver = cluster, folder, driver

    def steps(self):
        assert self.driver.poll() is None, (self.folder / "printed.txt").read_text()[-6000:]
        return sum(len(path.read_text().splitlines()) for path in self.folder.glob("results/cxr/work/*/metrics.jsonl"))

    def job(self, state):
        """Wait for a job in this state; its number."""
        found = self.cluster.wait(
            lambda: [number for number, now in self.cluster.jobs().items() if now == state], f"a job is {state}"
        )
        return str(found[0])

    def advanced(self):
        """Wait until a job has trained beyond where the last one was; its number."""
        number = self.job("RUNNING")
        self.cluster.wait(self.process, "training runs")
        before = self.steps()
        self.cluster.wait(lambda: self.steps() > before, "training goes on")
        return number

    def process(self):
        """The process that trains."""
        for process in psutil.process_iter(["cmdline", "cwd"]):
            words = process.info["cmdline"] or [""]
            inside = process.info["cwd"] == str(self.folder) and "scansynth.train" in words
            if inside and words[0].endswith(("python", "python3")):
                return process
        return None


def test_a_slice_a_cancelled_job_drained_nodes_a_restart_a_requeue_and_the_time_limit(cluster, undisturbed, folder):
    # The first attempt is a slice of a second; it fails, and the second goes on.
    driver = submit(folder, MODEL, "--set-resources", "train:slice_minutes='0.02' if attempt == 1 else '60'")
    training = Training(cluster, folder, driver)
    first = training.advanced()
    cluster.wait(lambda: int(first) not in cluster.jobs(), "the slice is over")
    assert "SCANSYNTH_SLICE_MINUTES=0.02: stopped after step" in (folder / "logs/train/cxr.log").read_text()

    second = training.advanced()
    assert "mem=6000M" in cluster.say("scontrol", "show", "job", second)  # the end of a slice is no lack of memory
    cluster.say("scontrol", "update", "NodeName=one,two", "State=DRAIN", "Reason=test")
    cluster.stop("slurmctld")
    cluster.start("slurmctld", "-D")
    cluster.wait(lambda: int(second) in cluster.jobs(), "the controller knows the job again")
    cluster.say("scancel", second)
    third = training.job("PENDING")
    cluster.say("scontrol", "update", "NodeName=one,two", "State=RESUME")

    assert training.advanced() == third != second
    cluster.say("scontrol", "requeue", third)
    cluster.wait(lambda: cluster.jobs()[int(third)] == "PENDING", "the job waits again")

    assert training.advanced() == third
    training.process().send_signal(signal.SIGSTOP)  # so that it does not end before its time is up
    cluster.say("scontrol", "update", f"JobId={third}", "EndTime=now")
    cluster.wait(lambda: int(third) not in cluster.jobs(), "the job's time is up")
    assert "JobState=TIMEOUT" in cluster.say("scontrol", "show", "job", third)

    succeeded(driver, folder)
    same(folder, undisturbed, MODEL)
    assert (folder / "logs/train/cxr.log").read_text().count("resumed after step") == 1


@pytest.fixture
def site(tmp_path):
    """A repository whose profile a site has made its own: two processes train, two jobs sample, few are submitted."""
    sections = {name: SMALL.get(name, {}) | section for name, section in SECTIONS.items()}
    folder = repository.make(tmp_path / "site", **sections)
    profile = folder / "workflow/profiles/slurm/config.yaml"
    values = yaml.safe_load(profile.read_text())
    values["set-resources"]["train"] |= {"processes": 2}
    values |= {"cores": 1, "set-scatter": {"sample": 2}, "slurm-init-seconds-before-status-checks": 3}
    values["groups"] = dict.fromkeys(TOGETHER, "evaluation")  # each job costs seconds of start-up
    profile.write_text(yaml.safe_dump(values))
    return folder


def test_dvc_repro_with_two_processes_and_shards(cluster, undisturbed, site):
    shutil.copytree(undisturbed / "data", site / "data")
    repository.dvc(site, "repro", SNAKEMAKE_PROFILE="workflow/profiles/slurm")
    same(site, undisturbed, MODEL, SAMPLES)
    assert files.read_json(site / "results/cxr/trained.record.json")["facts"]["processes"] == 2
    assert "facts" in files.read_json(site / "results/figures_cxr.record.json")
    assert f"{site}/.snakemake/slurm_logs/rule_train" in cluster.say("scontrol", "show", "job")
    assert to_run(site) == set() == to_call(site)


def test_two_nodes_make_the_model_of_one(cluster, undisturbed, folder, monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")  # both nodes are this host
    nodes = ["train:nodes=2", "train:tasks=2", "train:tasks_per_gpu=0", "train:gpu=2", "train:mpi=srun"]
    driver = submit(folder, MODEL, "--set-resources", *nodes)
    succeeded(driver, folder)
    same(folder, undisturbed, MODEL)
    assert files.read_json(folder / "results/cxr/trained.record.json")["facts"]["processes"] == 2

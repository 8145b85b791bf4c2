"""A real Slurm on this host: daemons of its own, in a folder of their own, on loopback alone, while it is asked for.

Needs the Debian packages slurm-wlm and munge, and root, as which both daemons run.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

CONFIGURATION = Path("/etc/slurm/slurm.conf")  # the executor strips SLURM_CONF from its jobs' environment
FILES, NODES = ("slurm.conf", "gres.conf"), ("one", "two")
CLUSTER = "scansynth-tests"
PORTS = range(16817, 16820)
TEXT = """
ClusterName={cluster}
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPort={ports[0]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=100000,batch_sched_delay=0
PriorityType=priority/basic
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
AccountingStorageType=accounting_storage/none
MinJobAge=600
JobRequeue=1
KillWait=5
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName=one,two NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]}-{ports[2]} CPUs=16 RealMemory=64000 Gres=gpu:1
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE
"""


def missing():
    """Why there can be no Slurm here; empty where there can."""
    absent = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if not shutil.which(name)]
    if absent:
        return f"needs {', '.join(absent)}: apt-get install slurm-wlm munge"
    if os.geteuid():
        return "needs root, as which Slurm's daemons run"
    if CONFIGURATION.exists() and CLUSTER not in CONFIGURATION.read_text():  # its own, of a run that was killed, may go
        return f"there is a Slurm on this machine already ({CONFIGURATION})"
    return ""


class Slurm:
    """Two nodes of this host, and the daemon that controls them."""

    def __init__(self, folder):
        self.folder, self.processes = folder, {}

    def __enter__(self):
        text = TEXT.format(cluster=CLUSTER, folder=self.folder, host=socket.gethostname().split(".")[0], ports=PORTS)
        (self.folder / "state").mkdir()
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "gres.conf").write_text("Name=gpu File=/dev/null\n")  # as good a GPU as any to a scheduler
        for name in FILES:
            (CONFIGURATION.parent / name).unlink(missing_ok=True)  # of a run that was killed
            (CONFIGURATION.parent / name).symlink_to(self.folder / name)
        try:
            self._start_all()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start_all(self):
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        munge = [f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
        self.start("munged", "--foreground", f"--socket={self.folder}/munge.socket", "--force", *munge)
        self.start("slurmctld", "-D")
        for node in NODES:
            (self.folder / f"spool.{node}").mkdir()
            self.start("slurmd", "-D", "-N", node, name=node)
        self.wait(lambda: self.say("sinfo", "-h", "-o", "%T %D") == "idle 2", "both nodes are idle")

    def start(self, *command, name=None):
        """Start a daemon in the foreground, so that it is a child that can be ended."""
        with (self.folder / f"{name or command[0]}.out").open("a") as output:
            self.processes[name or command[0]] = subprocess.Popen(command, stdout=output, stderr=output)

    def stop(self, name):
        """End a daemon, and wait for that."""
        process = self.processes.pop(name)
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __exit__(self, *_):
        with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
            if "slurmctld" in self.processes and self.jobs():
                self.say("scancel", "--signal=KILL", "--full", "--user=root")
                self.wait(lambda: not self.jobs(), "all jobs have ended", 20)
        for name in reversed(list(self.processes)):
            self.stop(name)
        for name in FILES:
            (CONFIGURATION.parent / name).unlink(missing_ok=True)

    def jobs(self):
        """The state of each job that waits or runs, by its number; of none while the controller does not answer."""
        rows = [line.split() for line in self.say("squeue", "-h", "-o", "%i %T").splitlines()]
        return {int(row[0]): row[1] for row in rows if len(row) == 2 and row[0].isdigit()}

    def say(self, *command):
        """What a command of Slurm's answers."""
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        return done.stdout.strip() if done.returncode == 0 else f"{command[0]}: {done.stderr}"

    def wait(self, condition, what, seconds=240):
        """Poll until the condition holds, and give what it gave."""
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            if time.monotonic() > deadline:
                logs = [f"{path.name}:\n{path.read_text()[-1500:]}" for path in sorted(self.folder.glob("*.log"))]
                raise RuntimeError(f"not after {seconds} s: {what}\n" + "\n".join(logs))
            time.sleep(0.1)
        return found

"""What DVC pushes to: a folder, and servers on loopback, an sshd and an S3 server that keeps its objects in a folder.

Each has the options that DVC is given for it, those of them that are secret, and the same with wrong credentials.
"""

import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

BIN = Path(sys.executable).parent
KEY, SECRET, OTHER = "scansynth-test", "secret-of-the-test", "another-secret"
# In a store's folder: removes objects whose bytes are not those of their name, and the lists of folders that hold them,
# or DVC would believe these folders to be there; `dvc push` then brings both again.
MEND = """cd files/md5 && for o in ??/*; do
  name=$(echo ${o%.dir} | tr -d /)
  test "$(md5sum < $o | cut -c-32)" = $name || { echo $o; rm -f $o $(grep -ls $name ??/*.dir); }
done"""


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def until(done, what, seconds=60, interval=0.005):
    """Poll until ``done()`` is true; its value."""
    deadline = time.monotonic() + seconds
    while not (value := done()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(interval)
    return value


def kill(process):
    """Kill a server and all that it started, at once and without a word to its clients."""
    family = [process, *process.children(recursive=True)]
    for member in family:
        member.kill()
    psutil.wait_procs(family, 30)


class Server:
    """A process that listens on a port of loopback, and keeps what it is sent below a folder."""

    program = ""  # what has to be there for it
    user = None  # who it runs as, if not as the test

    def __init__(self, folder):
        self.folder, self.port, self.process = folder, free_port(), None
        self.storage = folder / "storage"  # where DVC's objects get to
        self.storage.mkdir(parents=True)

    def start(self):
        log = self.folder / "server.log"
        with log.open("a") as output:
            pipes = {"stdout": output, "stderr": output}
            self.process = psutil.Popen(self.command(), env=self.environment(), user=self.user, **pipes)
        until(self.answers, f"the server; {log} says more", seconds=180, interval=0.05)

    def answers(self):
        assert self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        if self.process is not None and self.process.is_running():
            kill(self.process)

    def environment(self):
        return dict(os.environ)

    def objects(self):
        """What a client of the remote would find: hash that the name tells and file, finished or not."""
        files = (file for file in (self.storage / "files" / "md5").glob("??/*") if file.is_file())
        return {file.parent.name + file.name: file for file in files if not file.name.startswith(".")}

    def damaged(self):
        """The objects whose bytes are not those that their name tells."""
        return {
            name: file
            for name, file in self.objects().items()
            if hashlib.md5(file.read_bytes()).hexdigest() != name.removesuffix(".dir")
        }


class Ssh(Server):
    """OpenSSH's server, with keys made for it; whoever runs the test may log in with the first key."""

    name, program = "cluster", shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")

    def __init__(self, folder):
        super().__init__(folder)
        for key in ("host", "right", "wrong"):
            generate = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
            subprocess.run(generate, check=True, capture_output=True)
        settings = {"Port": self.port, "ListenAddress": "127.0.0.1", "HostKey": folder / "host", "PidFile": "none"}
        settings |= {"AuthorizedKeysFile": folder / "right.pub", "StrictModes": "no", "UsePAM": "no"}
        settings |= {"PasswordAuthentication": "no", "Subsystem": "sftp internal-sftp"}
        (folder / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
        self.options = {"url": f"ssh://127.0.0.1:{self.port}{self.storage}"}
        self.secrets, self.wrong = {"keyfile": str(folder / "right")}, {"keyfile": str(folder / "wrong")}

    def command(self):
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # else its start as a service makes it
        return [self.program, "-D", "-e", "-f", str(self.folder / "sshd_config")]


class S3(Server):
    """rclone's S3 server."""

    name, program = "bucket", shutil.which("rclone", path=f"{BIN}:{os.environ['PATH']}")

    def __init__(self, folder):
        super().__init__(folder)
        self.root, self.storage = self.storage, self.storage / "scans" / "store"
        (self.root / "scans").mkdir()
        self.options = {
            "url": "s3://scans/store",
            "endpointurl": f"http://127.0.0.1:{self.port}",
            "region": "us-east-1",
        }
        self.secrets = {"access_key_id": KEY, "secret_access_key": SECRET}
        self.wrong = self.secrets | {"secret_access_key": OTHER}

    def command(self):
        return [self.program, "serve", "s3", "--addr", f"127.0.0.1:{self.port}", "--config", os.devnull, str(self.root)]

    def environment(self):
        return dict(os.environ) | {"RCLONE_AUTH_KEY": f'"{KEY},{SECRET}"', "RCLONE_DIR_CACHE_TIME": "100ms"}


class Folder:
    """A folder of this machine, or one that is mounted: nothing serves it."""

    name, program = "shared", True

    def __init__(self, folder):
        self.storage = folder / "storage"
        self.storage.mkdir(parents=True)
        self.options, self.secrets = {"url": str(self.storage)}, {}

    objects, damaged = Server.objects, Server.damaged

    def start(self):
        """It is there."""

    stop = start


class User:
    """Someone with a home folder of their own, who works with git and DVC."""

    def __init__(self, home):
        self.home = home
        home.mkdir()
        kept = {name: value for name, value in os.environ.items() if not re.match(r"AWS_|DVC_|SSH_|XDG_", name)}
        self.environment = kept | {
            **{"HOME": str(home), "PATH": f"{BIN}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "true"},
            **{"DVC_SITE_CACHE_DIR": str(home / "site"), "GIT_CONFIG_NOSYSTEM": "1", "NO_PROXY": "127.0.0.1"},
            "AWS_MAX_ATTEMPTS": "1",  # five of them take 10 s to tell that a server is dead
        }

    def start(self, program, *arguments, folder):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL, "text": True}
        return subprocess.Popen([program, *arguments], cwd=folder, env=self.environment, **pipes)

    def run(self, program, *arguments, folder):
        """Status and output."""
        process = self.start(program, *arguments, folder=folder)
        said, _ = process.communicate(timeout=180)
        return process.returncode, said

    def do(self, program, *arguments, folder):
        """Run what has to succeed; its output."""
        status, said = self.run(program, *arguments, folder=folder)
        assert status == 0, said
        return said

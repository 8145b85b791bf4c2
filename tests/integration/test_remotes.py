"""DVC's remotes for real, a folder, an sshd and an S3 server on loopback: they die, lose bytes, refuse strangers."""

import hashlib
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from remotes import MEND, S3, Folder, Ssh, User, until
from safetensors.numpy import save_file

FILES = ("data/images/chest_64.npy", "results/cxr/model.safetensors", "results/fid_cxr.json")
FOLDER, COUNT = "data/raw/chest", 12
STAGE = {"cmd": "true", "outs": [{out: {"persist": True}} for out in (*FILES, FOLDER)]}


class Project:
    """A repository with outputs as this project has them, whose default remote is the server."""

    def __init__(self, folder, server):
        self.server, self.user, self.folder = server, User(folder / "home"), folder / "project"
        outputs(self.folder)
        self.do("git", "init", "-q")
        self.do("dvc", "init", "-q")
        (self.folder / ".dvc/config").write_text('[core]\n    analytics = false\n[cache]\n    type = "reflink,copy"\n')
        url, *options = server.options.items()
        self.do("dvc", "remote", "add", "-d", server.name, url[1])
        for key, value in (*options, ("verify", "true")):
            self.do("dvc", "remote", "modify", server.name, key, value)
        for key, value in server.secrets.items():
            self.do("dvc", "remote", "modify", "--local", server.name, key, value)
        self.do("dvc", "commit", "-f")
        self.do("git", "add", "-A")
        self.do("git", "-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "All outputs")
        self.bytes = contents(self.folder)
        self.names = {path.parent.name + path.name for path in cache(self.folder)}

    def do(self, *words):
        return self.user.do(*words, folder=self.folder)

    def log_in(self, which, folder=None):
        """Change the credentials of a clone, or of the project itself, to its ``secrets`` or to the ``wrong`` ones."""
        config = (folder or self.folder) / ".dvc/config.local"
        text = config.read_text()
        for key, secret in getattr(self.server, which).items():
            text = re.sub(f"{key} = .*", f"{key} = {secret}", text)
        config.write_text(text)

    def clone(self, name):
        """A fresh clone by someone who has the credentials."""
        folder = self.folder.with_name(name)
        shutil.rmtree(folder, ignore_errors=True)
        self.do("git", "clone", "-q", str(self.folder), str(folder))
        if self.server.secrets:
            shutil.copy(self.folder / ".dvc/config.local", folder / ".dvc/config.local")
        return folder

    def cut(self, action, folder, begun):
        """Status and words of a transfer whose server was killed as soon as ``begun()``."""
        process = self.user.start("dvc", action, "-j", "16", folder=folder)
        until(begun, f"a first object by dvc {action}")
        self.server.stop()
        said, _ = process.communicate(timeout=180)
        self.server.start()
        return process.returncode, said


def outputs(folder):
    random = np.random.default_rng(0)
    for out in (*FILES, f"{FOLDER}/x"):
        (folder / out).parent.mkdir(parents=True, exist_ok=True)
    np.save(folder / FILES[0], random.integers(0, 256, (10_000, 1, 64, 64), np.uint8))
    save_file({"weight": random.normal(size=100_000).astype(np.float32)}, folder / FILES[1])
    (folder / FILES[2]).write_text(json.dumps({"probe": {"frechet_distance": 3.5}}))
    for number in range(COUNT):
        (folder / FOLDER / f"{number}.png").write_bytes(random.bytes(200_000))
    (folder / "dvc.yaml").write_text(json.dumps({"stages": {"all": STAGE}}))


def contents(folder):
    paths = [folder / file for file in FILES] + sorted((folder / FOLDER).glob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.exists()}


def cache(folder):
    return [path for path in (folder / ".dvc/cache/files/md5").glob("??/*") if not path.name.startswith(".")]


def unsound(folder):
    """Objects in a cache whose bytes are not those that their name tells."""
    names = {path: (path.parent.name + path.name).removesuffix(".dir") for path in cache(folder)}
    return [path for path, name in names.items() if hashlib.md5(path.read_bytes()).hexdigest() != name]


SERVERS = pytest.mark.parametrize("made", [Ssh, S3], indirect=True)


@pytest.fixture(scope="module", params=[Folder, Ssh, S3])
def made(request, tmp_path_factory):
    if not request.param.program:
        pytest.skip("needs OpenSSH's server" if request.param is Ssh else "needs rclone")
    folder = tmp_path_factory.mktemp("remote")
    server = request.param(folder / "server")
    try:
        yield Project(folder, server)
    finally:
        server.stop()


@pytest.fixture
def project(made):
    """The project, its remote up and empty."""
    shutil.rmtree(made.server.storage, ignore_errors=True)
    made.server.storage.mkdir()
    made.server.stop()
    made.server.start()
    return made


@SERVERS
def test_who_is_known_shares_all_and_who_is_not_is_refused(project):
    project.log_in("wrong")
    refused(project, "push", project.folder)
    assert project.server.objects() == {} and contents(project.folder) == project.bytes
    project.log_in("secrets")
    project.do("dvc", "push")
    assert set(project.server.objects()) == project.names and not project.server.damaged()

    clone = project.clone("clone")
    project.log_in("wrong", clone)
    refused(project, "pull", clone)
    assert contents(clone) == {} and cache(clone) == []
    project.log_in("secrets", clone)
    project.user.do("dvc", "pull", folder=clone)
    assert contents(clone) == project.bytes and len(project.bytes) == len(FILES) + COUNT

    committed = project.do("git", "grep", "-h", "", "HEAD", "--", ".dvc")
    assert project.server.options["url"] in committed
    assert not [secret for secret in project.server.secrets.values() if secret in committed]


def refused(project, action, folder):
    status, said = project.user.run("dvc", action, folder=folder)
    assert status != 0, said
    # The one names the host, the other the request only.
    assert "on host 127.0.0.1" in said if project.server.name == "cluster" else "Forbidden" in said, said


@SERVERS
def test_a_push_and_a_pull_that_are_cut_go_on(project):
    store, big = project.server.storage, len(project.bytes[FILES[0]])

    def parts():
        return [file for file in store.rglob("*") if file.is_file() and 1_000_000 < file.stat().st_size < big]

    status, said = project.cut("push", project.folder, lambda: parts() and project.server.objects())
    assert status != 0 and "failed to transfer" in said, said
    assert 1 <= len(project.server.objects()) < len(project.names) and not project.server.damaged()
    assert len(parts()) == 1 and parts()[0] not in project.server.objects().values()
    assert contents(project.folder) == project.bytes and len(cache(project.folder)) == len(project.names)
    project.do("dvc", "push")
    assert set(project.server.objects()) == project.names and not project.server.damaged()

    clone = project.clone("clone")
    status, said = project.cut("pull", clone, lambda: len(cache(clone)) >= 3)
    assert status != 0 and 3 <= len(cache(clone)) < len(project.names), said
    assert unsound(clone) == []
    project.user.do("dvc", "pull", folder=clone)
    assert contents(clone) == project.bytes


def test_flipped_bytes_are_noticed_and_can_be_mended(project):
    project.do("dvc", "push")
    flipped = (FILES[0], f"{FOLDER}/7.png")
    names = {hashlib.md5(project.bytes[path]).hexdigest() for path in flipped}
    for name in names:
        damaged = project.server.objects()[name]
        whole = damaged.read_bytes()
        damaged.chmod(0o644)
        damaged.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))

    clone = project.clone("clone")
    status, said = project.user.run("dvc", "pull", folder=clone)
    assert status != 0 and FILES[0] in said and FOLDER in said, said
    assert not set(contents(clone)) & set(flipped) and FILES[1] in contents(clone) and unsound(clone) == []

    # Of a folder DVC takes one away itself, of the others none.
    damaged = set(project.server.damaged())
    assert damaged == names or (damaged < names and project.server.name == "shared")
    found = subprocess.run(MEND, shell=True, check=True, cwd=project.server.storage, capture_output=True, text=True)
    assert {line.replace("/", "") for line in found.stdout.splitlines()} == damaged
    project.do("dvc", "push")
    assert set(project.server.objects()) == project.names and not project.server.damaged()
    project.user.do("dvc", "pull", folder=clone)
    assert contents(clone) == project.bytes

"""The jobs that the Kubernetes profile sends, received by an interface that answers as a cluster's would."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from small import REPO, command

PLUGINS = Path(sys.prefix) / "kubernetes"
KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "test",
    "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    "users": [{"name": "test", "user": {}}],
}

pytestmark = pytest.mark.skipif(not PLUGINS.is_dir(), reason="needs .venv/kubernetes (make .venv/kubernetes)")


class Interface(BaseHTTPRequestHandler):
    """Keeps the jobs that it is sent, and says of each that it has failed."""

    def do_POST(self):
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if sent.get("spec", {}).get("template"):
            self.server.jobs.append(sent)
            (archive,) = self.server.storage.glob("snakemake-workflow-sources.*")
            with tarfile.open(archive) as sources:
                self.server.sources = sources.getnames()
        self.answer(sent)

    def do_GET(self):
        if "/jobs/" in self.path:
            self.answer({"metadata": {}, "spec": {"template": {}}, "status": {"failed": 1}})
        else:
            self.answer({"items": []})

    def do_DELETE(self):
        self.answer({"status": "Success"})

    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), Interface) as server:
        server.jobs = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = {"name": "test", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
        (tmp_path / "kubeconfig").write_text(json.dumps(KUBECONFIG | {"clusters": [address]}))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PLUGINS), os.environ.get("PYTHONPATH", "")]))
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def project(tmp_path):
    """A git checkout of the workflow: all files that git knows go with the jobs."""
    for name in ("workflow", "config"):
        shutil.copytree(REPO / name, tmp_path / "project" / name)
    shutil.copy(REPO / "environment.yml", tmp_path / "project")
    for words in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *words], cwd=tmp_path / "project", check=True)
    return tmp_path / "project"


def test_a_training_job_names_image_command_cores_memory_and_gpu(cluster, project, tmp_path):
    """The image store is there; the training is sent, and sent again with more memory when it fails."""
    storage = cluster.storage = tmp_path / "storage"
    images = storage / "data" / "images"
    images.mkdir(parents=True)
    for suffix in (".npy", ".csv", ".json"):
        (images / f"chest_64{suffix}").write_bytes(b"")
    options = ["--default-storage-prefix", str(storage), "--retries", "1", "--rerun-triggers", "mtime"]
    options += ["--seconds-between-status-checks", "1", "--allowed-rules", "train"]
    words = command("results/cxr/trained.safetensors", "--profile", "workflow/profiles/kubernetes", *options)
    words[words.index("--cores") + 1] = "8"
    words[words.index("--snakefile") + 1] = "workflow/Snakefile"
    done = subprocess.run(words, cwd=project, capture_output=True, text=True, timeout=120)
    said = done.stdout + done.stderr
    assert len(cluster.jobs) == 2, said
    for attempt, job in enumerate(cluster.jobs, start=1):
        (container,) = job["spec"]["template"]["spec"]["containers"]
        wanted = container["resources"]
        assert container["image"] == "ghcr.io/example/scansynth:latest"
        assert wanted["limits"]["cpu"] == "8000m" and wanted["limits"]["memory"] == f"{6000 * attempt}M"
        assert wanted["limits"]["nvidia.com/gpu"] == wanted["requests"]["nvidia.com/gpu"] == "1"
        assert {"name": "scansynth", "mountPath": "/mnt/scansynth"} in container["volumeMounts"]
        (script,) = container["args"][1:]
        assert "--deploy-sources" in script and "train:name=cxr" in script
    assert {"workflow/Snakefile", "config/experiments/cxr.yaml"} <= set(cluster.sources)

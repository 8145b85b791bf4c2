"""MLflow with many who log at once: SQLite, a server that is killed, PostgreSQL; each figure is there exactly once.

The file is a program, too: it loads MLflow once and lets a child in each folder that it is given log, all at once.
"""

import itertools
import json
import multiprocessing
import os
import pwd
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from remotes import Server, until

from scansynth import tracking

MANY, STEPS = 8, 600
PASSWORD = "a-password-for-the-test"


def results(folder, *names, steps=STEPS):
    """What stages would have written for experiments of these names."""
    for name in names:
        (folder / "results" / name).mkdir(parents=True)
        made = {f"{name}/trained": f"{name}/train.jsonl", f"fid_{name}": f"fid_{name}.json"}
        for (file, output), stage in zip(made.items(), ("train", "evaluate.fid"), strict=True):
            record = {"stage": stage, "inputs": {}, "seconds": 1.5, "digests": {"code": "abc"}}
            record["outputs"] = {"x": {"path": f"results/{output}", "sha256": file}}
            record["settings"] = {stage: {f"key{number}": number for number in range(60)}}
            (folder / "results" / f"{file}.record.json").write_text(json.dumps(record))
        rows = [{"step": step, "loss": 1 / step, "val_loss": 2 / step} for step in range(1, steps + 1)]
        (folder / "results" / name / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "results" / f"fid_{name}.json").write_text('{"probe": {"frechet_distance": 3.5}}')
    return folder


def at_once(folders, address):
    """A process in each folder brings MLflow up to date, all of them at the same time; what they said."""
    environment = os.environ | {"MLFLOW_TRACKING_URI": address}
    command = [sys.executable, __file__, *map(str, folders)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "did not answer" not in done.stderr, done.stderr
    return done.stdout


def track(folder, address, *arguments):
    environment = os.environ | {"MLFLOW_TRACKING_URI": address}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(
        [sys.executable, "-m", "scansynth.tracking", *arguments], cwd=folder, env=environment, **pipes
    )


def expect(address, *names, steps=STEPS):
    """Each experiment has one run, and that each figure once."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(address)
    for name in names:
        (run,) = client.search_runs([client.get_experiment_by_name(name).experiment_id])
        assert run.info.status == "FINISHED"
        for metric, first in {"loss": 1, "val_loss": 2}.items():
            history = client.get_metric_history(run.info.run_id, metric)
            rows = sorted((entry.step, entry.value) for entry in history)
            assert rows == [(step, first / step) for step in range(1, steps + 1)]
        assert run.data.metrics["fid.probe.frechet_distance"] == 3.5
        assert len(client.get_metric_history(run.info.run_id, "fid.probe.frechet_distance")) == 1
        assert len(run.data.params) == 120


class Tracking(Server):
    """MLflow's own server, on a SQLite file of its own."""

    def __init__(self, folder):
        super().__init__(folder)
        self.database, self.address = folder / "mlflow.db", f"http://127.0.0.1:{self.port}"

    def command(self):
        store = ["--backend-store-uri", f"sqlite:///{self.database}", "--artifacts-destination", str(self.storage)]
        port = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        return [sys.executable, "-m", "mlflow", "server", *store, *port]

    def environment(self):
        return os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}

    def answers(self):
        assert self.process.is_running()
        try:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            return opener.open(f"{self.address}/health", timeout=5).status == 200
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def metrics(self):
        """How many it has written."""
        with sqlite3.connect(f"file:{self.database}?mode=ro", uri=True) as database:
            return database.execute("select count(*) from metrics").fetchone()[0]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Tracking(tmp_path_factory.mktemp("mlflow"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


class Postgres(Server):
    """Debian's PostgreSQL, as a user without rights where the test has them all, a password on its door."""

    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))

    def __init__(self, folder):
        super().__init__(folder)
        self.user = "nobody" if os.getuid() == 0 else None
        (folder / "password").write_text(PASSWORD)
        if self.user:
            for path in (folder, self.storage, folder / "password"):
                os.chown(path, pwd.getpwnam(self.user).pw_uid, -1)
        words = ["-D", str(self.storage), "-U", "mlflow", "-A", "scram-sha-256", "--pwfile", str(folder / "password")]
        initdb = [str(self.programs[-1].with_name("initdb")), *words, "--no-sync"]
        subprocess.run(initdb, check=True, capture_output=True, cwd=folder, user=self.user)

    def command(self):
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": str(self.folder)}
        words = itertools.chain(*(("-c", f"{key}={value}") for key, value in (settings | {"fsync": "off"}).items()))
        return [str(self.programs[-1]), "-D", str(self.storage), *words]

    def database(self, name):
        """The address of a new database."""
        import psycopg2

        address = f"postgresql://mlflow:{PASSWORD}@127.0.0.1:{self.port}/"
        connection = until(lambda: self.connection(psycopg2, address), "PostgreSQL")
        connection.autocommit = True
        connection.cursor().execute(f"create database {name}")
        connection.close()
        return address + name

    def connection(self, psycopg2, address):
        try:
            return psycopg2.connect(f"{address}postgres")
        except psycopg2.OperationalError:
            return None

    def stop(self):
        if self.process is not None and self.process.is_running():
            self.process.send_signal(signal.SIGINT)  # killed, it would leave a segment of shared memory
            self.process.wait(30)


@pytest.fixture(scope="module")
def postgres():
    if not Postgres.programs:
        pytest.skip("needs Debian's postgresql")
    # Not below pytest's own folder, which is closed to all others.
    folder = Path(tempfile.mkdtemp(prefix="postgres"))
    server = None
    try:
        server = Postgres(folder)
        server.start()
        yield server
    finally:
        if server:
            server.stop()
        shutil.rmtree(folder)


def test_many_in_one_folder_fill_a_new_database_once(tmp_path):
    names = [f"toy{number}" for number in range(MANY)]
    folder = results(tmp_path, *names)
    said = at_once([folder] * MANY, "sqlite:///mlflow.db")
    assert sorted(line.split()[2] for line in said.splitlines()) == [f"{name};" for name in names]
    expect(f"sqlite:///{folder}/mlflow.db", *names)


def test_many_folders_that_share_a_new_database(tmp_path):
    folders = [results(tmp_path / str(number), "toy") for number in range(MANY)]
    address = f"sqlite:///{tmp_path}/shared.db"
    assert len(at_once(folders, address).splitlines()) == 1
    expect(address, "toy")


def test_many_folders_that_share_a_server(server, tmp_path):
    folders = [results(tmp_path / str(number), "same", f"own{number}") for number in range(MANY)]
    at_once(folders, server.address)
    expect(server.address, "same", *(f"own{number}" for number in range(MANY)))


def test_a_server_that_is_killed_midway_loses_nothing(server, tmp_path):
    names = ("cut1", "cut2")
    folder = results(tmp_path, *names, steps=4_000)
    before = server.metrics()
    process = track(folder, server.address, "--since", "0")
    until(lambda: server.metrics() >= before + 2000, "the first figures to arrive", interval=0.02)
    server.stop()
    said, complaint = process.communicate(timeout=120)
    assert process.returncode == 0 and "logged" not in said
    assert f"{server.address} did not answer" in complaint and "python -m scansynth.tracking" in complaint
    assert server.metrics() < before + 2 * 8_000
    server.start()
    said, complaint = track(folder, server.address).communicate(timeout=300)
    assert said.count("logged") == 2, complaint
    expect(server.address, *names, steps=4_000)


def test_many_folders_that_share_a_new_database_of_postgresql(postgres, tmp_path):
    folders = [results(tmp_path / str(number), "same", f"own{number}") for number in range(MANY)]
    address = postgres.database("shared")
    assert len(at_once(folders, address).splitlines()) == MANY + 1
    expect(address, "same", *(f"own{number}" for number in range(MANY)))


def test_postgresql_that_is_down_is_told_in_seconds_and_without_its_password(postgres, tmp_path):
    address = postgres.database("later")
    postgres.stop()
    folder = results(tmp_path, "toy")
    _, complaint = track(folder, address).communicate(timeout=60)
    assert f"postgresql://127.0.0.1:{postgres.port}/later did not answer" in complaint
    assert PASSWORD not in complaint
    postgres.start()
    assert "logged toy" in track(folder, address).communicate(timeout=120)[0]
    expect(address, "toy")


def child(folder, ready):
    os.chdir(folder)
    ready.wait()
    tracking.sync()


if __name__ == "__main__":
    import mlflow.store.tracking.sqlalchemy_store
    import mlflow.tracking  # noqa: F401

    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(len(sys.argv) - 1)
    children = [context.Process(target=child, args=(folder, barrier)) for folder in sys.argv[1:]]
    for process in children:
        process.start()
    for process in children:
        process.join()
    sys.exit(max(abs(process.exitcode) for process in children))

"""MLflow as a view: each state once, nothing lost to a dead server, no time on old news, pages on loopback only."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
from mlflow.tracking import MlflowClient

from scansynth import tracking


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """An empty database of MLflow, which takes seconds to make: for each test a copy."""
    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def results(database, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(database, tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    # MLflow keeps one connection an address: a relative one would be that of the first test.
    monkeypatch.setattr(tracking, "DATABASE", f"sqlite:///{tmp_path}/mlflow.db")
    folder = tmp_path / "results" / "toy"
    folder.mkdir(parents=True)

    def record(file, stage, made=(), read=(), **settings):
        body = {"stage": stage, "settings": settings, "seconds": 1.5}
        for key, paths in {"inputs": dict(read), "outputs": {path: path for path in made} or {file: file}}.items():
            body[key] = {path: {"path": path, "sha256": sha256} for path, sha256 in paths.items()}
        (tmp_path / "results" / file).write_text(json.dumps(body | {"digests": {"code": "abc"}}))

    losses, figures = "results/toy/train.jsonl", "results/fid_toy.json"
    record("toy/trained.record.json", "train", made=[losses], train={"steps": 2, "betas": [1, 2]})
    record("fid_toy.record.json", "evaluate.fid", made=[figures], read={losses: losses}, evaluate={"seed": 0})
    (folder / "train.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0, "val_loss": 1.5}\n')
    (tmp_path / "results" / "fid_toy.json").write_text(
        '{"probe": {"frechet_distance": 3.5, "small": true, "of Mass, PA (n > 5)": 2}}'
    )
    return record


def runs():
    client = MlflowClient(tracking.DATABASE)
    experiment = client.get_experiment_by_name("toy")
    return client, client.search_runs([experiment.experiment_id]) if experiment else []


def test_figures_parameters_and_files_are_logged_once(results):
    tracking.sync()
    tracking.sync()
    client, (run,) = runs()
    assert run.data.params == {"train.steps": "2", "train.betas": "[1, 2]", "evaluate.seed": "0"}
    assert [metric.value for metric in client.get_metric_history(run.info.run_id, "loss")] == [2.0, 1.0]
    assert run.data.metrics["fid.probe.frechet_distance"] == 3.5
    assert "fid.probe.small" not in run.data.metrics
    assert run.data.metrics["fid.probe.of Mass_ PA _n _ 5_"] == 2  # what MLflow takes no name with
    assert "fid_toy.json" in {artifact.path for artifact in client.list_artifacts(run.info.run_id)}


def test_figures_of_another_model_are_not_logged_with_this_one(results):
    results("toy/trained.record.json", "train", made=["results/toy/train.jsonl"], train={"steps": 3})
    results(
        "fid_toy.record.json", "evaluate.fid", made=["results/fid_toy.json"], read={"results/toy/train.jsonl": "old"}
    )
    results("figures_toy.record.json", "evaluate.figures", read={"results/fid_toy.json": "results/fid_toy.json"})
    tracking.sync()
    client, (run,) = runs()
    assert run.data.params == {"train.steps": "3"} and "loss" in run.data.metrics
    assert not any(metric.startswith(("fid.", "seconds.evaluate")) for metric in run.data.metrics)
    assert "fid_toy.json" not in {artifact.path for artifact in client.list_artifacts(run.info.run_id)}


def test_a_new_state_is_a_new_run(results):
    tracking.sync()
    results("is_toy.record.json", "evaluate.inception_score", evaluate={"seed": 0})
    tracking.sync()
    assert len(runs()[1]) == 2


def test_a_dead_server_loses_nothing(results, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    tracking.sync()
    said = capsys.readouterr().err
    assert "http://127.0.0.1:9 did not answer" in said and "python -m scansynth.tracking" in said
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    tracking.sync()
    assert len(runs()[1]) == 1


def test_a_run_that_was_cut_off_is_logged_again(results, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(MlflowClient, "log_artifact", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        tracking.sync()
    tracking.sync()
    _, (run,) = runs()
    assert run.info.status == "FINISHED"


def test_of_two_runs_that_were_made_at_once_the_eldest_stays(results, monkeypatch):
    create = MlflowClient.create_run

    def both(client, experiment_id, tags):
        create(client, experiment_id, start_time=1, tags=tags)
        return create(client, experiment_id, tags=tags)

    monkeypatch.setattr(MlflowClient, "create_run", both)
    tracking.sync()
    _, (run,) = runs()
    assert run.info.start_time == 1 and run.info.status == "FINISHED"


def test_who_is_overtaken_fills_the_eldest(results, monkeypatch):
    log_artifact, overtaken = MlflowClient.log_artifact, []

    def overtake(client, run_id, file):
        if not overtaken:
            tags = client.get_run(run_id).data.tags
            overtaken.append(client.create_run(client.get_run(run_id).info.experiment_id, start_time=1, tags=tags))
            client.delete_run(run_id)
        log_artifact(client, run_id, file)

    monkeypatch.setattr(MlflowClient, "log_artifact", overtake)
    tracking.sync()
    client, (run,) = runs()
    assert run.info.run_id == overtaken[0].info.run_id and run.info.status == "FINISHED"
    assert [metric.value for metric in client.get_metric_history(run.info.run_id, "loss")] == [2.0, 1.0]


def test_more_settings_than_mlflow_takes_at_once(results):
    results("is_toy.record.json", "evaluate.inception_score", many={f"key{number}": number for number in range(150)})
    tracking.sync()
    assert len(runs()[1][0].data.params) == 153


def test_what_mlflow_lost_is_logged_again_by_who_asks(results):
    tracking.sync()
    client, (run,) = runs()
    client.delete_run(run.info.run_id)
    tracking.sync(asking=False)
    assert runs()[1] == []
    tracking.sync()
    assert len(runs()[1]) == 1


def test_old_news_are_told_without_mlflow(results):
    def track():
        command = [sys.executable, "-X", "importtime", "-m", "scansynth.tracking", "--since", "inf"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return "logged toy" in done.stdout, "mlflow" in done.stderr

    assert track() == (True, True)
    assert track() == (False, False)


def test_mlflow_is_asked_about_news_alone(results, monkeypatch):
    asked = []
    monkeypatch.setattr("mlflow.tracking.MlflowClient", lambda address: None)
    monkeypatch.setattr(tracking, "log_experiment", lambda client, name: asked.append(name))

    def news():
        asked.clear()
        tracking.sync(asking=False)
        return asked == ["toy"]

    assert news() and not news()
    Path("mlflow.db").rename("lost.db")
    Path("mlflow.db").touch()
    assert news() and not news()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///another.db")
    assert news() and not news()
    results("is_toy.record.json", "evaluate.inception_score", evaluate={"seed": 0})
    assert news() and not news()
    tracking.SEEN.write_text("{")
    assert news() and not news()


def test_timings(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for stage, seconds, memory in (("train", "12.5", "600.1"), ("sample", "2.5", "NA")):
        (tmp_path / "benchmarks" / stage).mkdir(parents=True)
        (tmp_path / "benchmarks" / stage / "toy.tsv").write_text(f"s\tmax_rss\n{seconds}\t{memory}\n")
    tracking.print_timings(tracking.timings(since=0))
    printed = capsys.readouterr().out
    assert "train toy" in printed and "15.0" in printed and "600" in printed
    assert tracking.timings(since=float("inf")) == []
    (tmp_path / "benchmarks/train/killed.tsv").touch()
    assert len(tracking.timings(since=0)) == 2


def test_pages_are_served_on_loopback_only(results):
    tracking.sync()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port)]
    server = psutil.Popen([*command, "--workers", "1", "--backend-store-uri", tracking.DATABASE])
    try:
        address = f"http://127.0.0.1:{port}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + 120
        while True:
            try:
                page = opener.open(address, timeout=10).read()
                break
            except (urllib.error.URLError, ConnectionError):
                assert time.monotonic() < deadline and server.is_running()
                time.sleep(0.5)
        assert b"MLflow" in page
        body = json.dumps({"experiment_ids": [runs()[1][0].info.experiment_id]}).encode()
        headers = {"Content-Type": "application/json"}
        search = urllib.request.Request(f"{address}/api/2.0/mlflow/runs/search", body, headers)
        (run,) = json.load(opener.open(search, timeout=30))["runs"]
        assert {"key": "fid.probe.frechet_distance", "value": 3.5}.items() <= next(
            metric for metric in run["data"]["metrics"] if metric["key"].startswith("fid.")
        ).items()
        family = [server, *server.children(recursive=True)]
        listening = {c.laddr.ip for p in family for c in p.net_connections() if c.status == psutil.CONN_LISTEN}
        assert listening == {"127.0.0.1"}
    finally:
        for process in [*server.children(recursive=True), server]:
            process.kill()
        server.wait(30)

"""The presets: each is valid, an experiment's own keys win, and an unknown one is named."""

import shutil
from pathlib import Path

import pytest
import yaml

from scansynth import config
from scansynth.errors import ScansynthError

CONFIG = Path(__file__).parents[1] / "config"
PRESETS = sorted(file.stem for file in (CONFIG / "presets").glob("*.yaml"))


@pytest.fixture
def experiment(tmp_path):
    """Writes an experiment beside the presets and loads it."""
    shutil.copytree(CONFIG / "presets", tmp_path / "presets")
    file = tmp_path / "experiments" / "mine.yaml"
    file.parent.mkdir()

    def load(overrides=None, **values):
        file.write_text(yaml.safe_dump({"title": "Mine", "data": {"dataset": "chest"}} | values))
        return config.load_experiment(file, overrides)

    return load


def test_the_presets_are_those_that_the_schema_knows():
    known = config.Experiment.model_json_schema()["properties"]["preset"]["anyOf"]
    assert sorted(next(each["enum"] for each in known if "enum" in each)) == PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_laid_under_the_experiment(name, experiment):
    preset = yaml.safe_load((CONFIG / "presets" / f"{name}.yaml").read_text())
    dumped = experiment(preset=name).model_dump(mode="json")
    assert dumped["preset"] == name
    for section, values in preset.items():
        assert {key: dumped[section][key] for key in values} == values
    assert config.Experiment.model_validate(dumped)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_what_it_is_for_and_what_was_measured(name):
    comment = (CONFIG / "presets" / f"{name}.yaml").read_text().splitlines()[:4]
    assert comment[0].startswith("# For ")
    assert any("Measured" in line or "not measured yet" in line for line in comment)


def test_the_experiments_own_keys_win_and_overrides_over_both(experiment):
    plain = experiment(preset="laptop")
    mine = experiment(preset="laptop", train={"steps": 7})
    assert (mine.train.steps, mine.train.batch, mine.network) == (7, plain.train.batch, plain.network)
    over = experiment({"train": {"batch": 3}}, preset="laptop", train={"steps": 7})
    assert (over.train.steps, over.train.batch) == (7, 3)
    other = experiment({"preset": "recommended"}, preset="laptop")
    assert other.network == experiment(preset="recommended").network != plain.network


def test_without_a_preset_the_defaults_hold(experiment):
    assert experiment().train == experiment(preset=None).train == config.Train()


def test_no_stage_is_told_of_the_preset_itself():
    assert all("preset" not in sections for sections in config.SECTIONS.values())


@pytest.mark.parametrize("name", ["labtop", 3, ["laptop"]])
def test_an_unknown_preset_is_named(name, experiment):
    with pytest.raises(ScansynthError) as error:
        experiment(preset=name)
    for words in ("mine.yaml", "preset", "laptop", "recommended", "full", repr(name)):
        assert words in str(error.value)


def test_a_preset_without_its_file_is_named(experiment, tmp_path):
    (tmp_path / "presets" / "full.yaml").unlink()
    with pytest.raises(ScansynthError, match=r"full\.yaml: there is no such file; known .*: laptop, recommended"):
        experiment(preset="full")


def test_a_preset_that_is_wrong_is_named_by_its_key(experiment, tmp_path):
    (tmp_path / "presets" / "laptop.yaml").write_text("train: {stesp: 3}\n")
    with pytest.raises(ScansynthError, match=r"mine\.yaml.*\n.*train\.stesp: unknown key"):
        experiment(preset="laptop")

"""The configuration: what is refused and how, and that what is generated agrees with the model."""

import json
from pathlib import Path

import pytest

from scansynth import config
from scansynth.errors import ScansynthError
from scansynth.experiments import Experiments
from scansynth.prepare import patients
from scansynth.prepare.split import assign

CONFIG = Path(__file__).parents[1] / "config"
CXR = CONFIG / "experiments" / "cxr.yaml"


def test_generated_files_agree_with_the_model():
    assert (CONFIG / "schema" / "experiment.schema.json").read_text() == config.schema(), "run `make config`"
    assert (CONFIG / "defaults.yaml").read_text() == config.annotated_defaults(), "run `make config`"


@pytest.mark.parametrize("section", [s for s in config.Experiment.model_fields if s not in ("title", "data")])
def test_annotated_defaults_are_a_valid_experiment(section, tmp_path):
    import yaml

    values = yaml.safe_load(config.annotated_defaults())
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump({"title": "t", "data": {"dataset": "chest"}, section: values[section]}))
    assert getattr(config.load_experiment(file), section) == config.Experiment.model_fields[section].default


def test_every_key_says_what_it_means():
    for section in (config.Experiment, config.Dataset):
        for name, field in section.model_fields.items():
            inner = field.annotation
            nested = isinstance(inner, type) and issubclass(inner, config.Section)
            assert field.description or nested, name
            if nested:
                assert all(key.description for key in inner.model_fields.values()), name


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"train": {"stesp": 5}}, ["train.stesp", "unknown key", "did you mean 'steps'", "value 5"]),
        ({"trian": {}}, ["trian", "did you mean 'train'"]),
        ({"train": {"steps": 0}}, ["train.steps", "greater than 0", "found 0"]),
        ({"images": {"size": 100}}, ["images.size", "64, 96, 128 or 256", "found 100"]),
        ({"images": {"train": 0.9}}, ["images", "has to be 1"]),
        ({"network": {"multipliers": [1, 2]}}, ["network", "attention has 3 entries for 2"]),
        ({"calibrate": {"pilot": 8}}, ["calibrate.pilot", "fewer than 64", "found 8"]),
        ({"train": {"ema": [0.5]}}, ["train.ema", "less than 0.288", "found 0.5"]),
        ({"sample": {"guidance_range": [4, 1]}}, ["sample.guidance_range", "rise"]),
        ({"diffusion": {"log_snr_max": -20}}, ["diffusion", "log_snr_max", "above"]),
        ({"evaluate": {"kid_subset": 1}}, ["evaluate.kid_subset", "greater than or equal to 2"]),
        ({"network": {"multipliers": [], "attention": []}}, ["network.multipliers", "at least 1"]),
        ({"data": {"dataset": None}}, ["data.dataset", "string", "None"]),
    ],
)
def test_what_is_wrong_is_named(overrides, said):
    with pytest.raises(ScansynthError) as error:
        config.load_experiment(CXR, overrides)
    for words in ["cxr.yaml", *said]:
        assert words in str(error.value)


def test_missing_file_lists_what_there_is():
    with pytest.raises(ScansynthError, match=r"nowhere\.yaml: there is no such file; known .*brats, .*cxr, .*nih"):
        config.load_experiment(CONFIG / "experiments" / "nowhere.yaml")


def test_broken_yaml(tmp_path):
    file = tmp_path / "broken.yaml"
    file.write_text("title: [")
    with pytest.raises(ScansynthError, match=r"broken\.yaml: not readable as YAML"):
        config.load_experiment(file)


def test_overrides_are_merged_key_by_key():
    merged = config.load_experiment(CXR, {"data": {"count": 7}, "train": {"steps": "9"}})
    assert (merged.data.dataset, merged.data.count, merged.train.steps) == ("chest", 7, 9)


def test_a_stage_is_given_its_sections_and_no_others():
    experiments = Experiments(CONFIG, {})
    for stage, sections in config.SECTIONS.items():
        text = experiments.settings(stage, "cxr")
        assert tuple(json.loads(text)) == sections
        config.parse_settings(stage, text)
        if sections:
            with pytest.raises(ScansynthError, match=f"lacks the section.*{sections[0]}"):
                config.parse_settings(stage, "{}")


def test_overrides_from_the_command_line_come_as_text():
    overrides = {
        "cxr": {"images": {"size": "64"}, "network": {"multipliers": ["1", "2", "2"]}, "data": {"root": "null"}}
    }
    experiment = Experiments(CONFIG, overrides)["cxr"]
    assert (experiment.images.size, experiment.network.multipliers, experiment.data.root) == (64, (1, 2, 2), None)


def test_overrides_of_an_unknown_experiment():
    with pytest.raises(ScansynthError, match=r"--config crx=.*an experiment's name \(brats, .*cxr, .*nih, .*\)"):
        Experiments(CONFIG, {"crx": {}})


def test_a_name_that_results_cannot_carry(tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "my_cohort.yaml").write_text(CXR.read_text())
    with pytest.raises(ScansynthError, match=r"my_cohort\.yaml: an experiment's name may hold"):
        Experiments(tmp_path, {})


def test_unknown_experiment():
    with pytest.raises(ScansynthError, match=r"there is no experiment 'crx'.*known: .*cxr, .*nih"):
        Experiments(CONFIG, {})["crx"]


def test_experiments_that_share_a_data_set_must_agree(tmp_path):
    for folder in ("experiments", "datasets"):
        (tmp_path / folder).mkdir()
    (tmp_path / "datasets" / "chest.yaml").write_text((CONFIG / "datasets" / "chest.yaml").read_text())
    for name, count in (("a", 10), ("b", 20)):
        text = f"title: t\ndata: {{dataset: chest, count: {count}}}\n"
        (tmp_path / "experiments" / f"{name}.yaml").write_text(text)
    experiments = Experiments(tmp_path, {})
    with pytest.raises(ScansynthError, match="a and b share the data set 'chest'"):
        experiments.shared_settings("acquire", "chest")
    assert experiments.shared_settings("prepare", "chest", 128)
    with pytest.raises(ScansynthError, match="no experiment"):
        experiments.shared_settings("prepare", "chest", 64)


def test_images_of_a_supplied_folder_are_the_users(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"1")
    (tmp_path / "notes.txt").write_bytes(b"not read")
    experiments = Experiments(CONFIG, {"nih": {"data": {"root": str(tmp_path)}}})
    assert experiments.supplied("nih_cxr14") == (tmp_path, ["images/a.png"])
    (tmp_path / "images" / "b.png").write_bytes(b"2")
    assert experiments.supplied("nih_cxr14") == (tmp_path, ["images/a.png", "images/b.png"])


def test_a_table_put_beside_downloads_is_the_users(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiments = Experiments(CONFIG, {})
    assert experiments.supplied("nih_cxr14") == (None, [])
    files = tmp_path / "data/raw/nih_cxr14/files"
    (files / "images_001/images").mkdir(parents=True)
    (files / "images_001/images/00000001_000.png").write_text("fetched")
    assert experiments.supplied("nih_cxr14") == (None, [])
    (files / "Data_Entry_2017_v2020.csv").write_text("Image Index\n")
    assert experiments.supplied("nih_cxr14") == (None, ["Data_Entry_2017_v2020.csv"])


def test_fetched_tables_are_not_the_users(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = tmp_path / "data/raw/pcam/files"
    files.mkdir(parents=True)
    (files / "camelyonpatch_level_2_split_train_meta.csv").write_text("fetched")
    assert Experiments(CONFIG, {}).supplied("pcam") == (None, [])


def test_what_phantoms_wrote_is_not_the_users(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/raw/chest/files").mkdir(parents=True)
    (tmp_path / "data/raw/chest/files/Data_Entry_2017_v2020.csv").write_text("made")
    assert Experiments(CONFIG, {}).supplied("chest") == (None, [])


def test_stains_need_colours():
    with pytest.raises(ScansynthError, match=r"patches.stain is macenko: that needs images.channels rgb"):
        config.load_experiment(CXR, {"patches": {"stain": "macenko"}})


def test_the_slides_to_start_with_are_in_every_split():
    experiments = Experiments(CONFIG, {})
    parts = experiments["camelyon"].data.parts
    slides = [part.removesuffix(".tif") for part in parts if part.endswith(".tif")]
    key = patients.pseudonym_key(experiments.datasets["camelyon"], CONFIG)
    official = ["test" if "/test_" in slide else "train-val" for slide in slides]
    names = [patients.pseudonym(slide, key) for slide in slides]
    splits = [assign(name, experiments["camelyon"].images, o) for name, o in zip(names, official, strict=True)]
    assert [splits.count(split) for split in ("train", "val", "test")] == [4, 2, 2]


@pytest.mark.parametrize(
    ("augmentation", "message"),
    [
        ({"arms": ["mixed_99"]}, "augmentation.arms: mixed_99 leaves one kind none of the 32 of arm.batch"),
        ({"arms": ["mixed_0"]}, "mixed_0 leaves one kind none"),
        ({"arms": ["mixed_1", "mixed_1"]}, "augmentation.arms: .*each may be named once"),
        ({"fractions": [0.1, 0.1]}, "augmentation.fractions: .*each may be named once"),
        ({"fractions": [0.00001]}, "augmentation.fractions.0: .*greater than or equal to 0.001"),
    ],
)
def test_arms_and_fractions_that_mean_nothing_are_refused(augmentation, message):
    with pytest.raises(ScansynthError, match=message):
        config.load_experiment(CXR, {"augmentation": augmentation})

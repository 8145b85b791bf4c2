"""What has to run after a change: exactly that, through Snakemake and through DVC, whoever ran last."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import repository
import yaml

from scansynth import why
from scansynth.files import sha256

# Each rule, and the rules whose results are made from its own.
NEXT = {
    "acquire": "listing shard prepare",
    "listing": "shard prepare",
    "shard": "prepare",
    "prepare": "contact_sheet train calibrate synthesise gather pca untrained probe reader extract features picture "
    "memorization diversity likelihood anatomy fid inception_score coverage",
    "contact_sheet": "",
    "train": "calibrate likelihood",
    "calibrate": "synthesise gather",
    "synthesise": "gather",
    "gather": "extract features picture memorization diversity anatomy",
    "pca": "extract features memorization diversity anatomy",
    "untrained": "extract features memorization diversity anatomy",
    "probe": "extract features memorization diversity",
    "extract": "features",
    "features": "fid inception_score coverage",
    "reader": "anatomy",
    "segmenter": "anatomy",
    "picture": "",
    "memorization": "fid figures",
    "fid": "figures",
    "coverage": "figures",
    "likelihood": "figures",
    "anatomy": "figures",
    "inception_score": "",
    "diversity": "",
    "figures": "",
}
# The stages of dvc.yaml, and what each asks Snakemake for.
STAGES = {
    "data@cxr": "acquire listing shard prepare contact_sheet",
    "model@cxr": "train calibrate",
    "samples@cxr": "synthesise gather",
    "segmenter@cxr": "segmenter",
}
RESULTS = ("results/figures_cxr.json", "results/is_cxr.json", "results/diversity_cxr.json")
FIGURES = ("fid", "memorization", "coverage", "likelihood", "anatomy")
EVERYTHING = (*RESULTS, *(f"results/{figure}_cxr.json" for figure in FIGURES))
SHEET = "data/images/{}_sheet.png"


def after(*rules: str) -> set[str]:
    """The rules, and all that is made from theirs, directly or not."""
    found: set[str] = set()
    waiting = list(rules)
    while waiting:
        rule = waiting.pop()
        if rule not in found:
            found.add(rule)
            waiting += NEXT[rule].split()
    return found


@pytest.fixture
def changed(finished_repository, tmp_path):
    return repository.copied(finished_repository, tmp_path / "copy")


def to_run(folder: Path, *targets: str, store: str = "chest_64", **environment: str) -> set[str]:
    """The rules that Snakemake would run for ``targets``, or all, of this image store."""
    wanted = targets or (*EVERYTHING, SHEET.format(store))
    printed = repository.snakemake(folder, "--dry-run", *wanted, **environment)
    return {job["rule"] for job in why.jobs(printed)}


def to_call(folder: Path, **environment: str) -> set[str]:
    """The stages of dvc.yaml that DVC would call, beside the one that looks at code and libraries."""
    repository.succeed(folder, "python", "-m", "scansynth.present", "data/present.json", **environment)
    # Where an output is gone, it says so only after what it would run.
    printed = repository.call(folder, "dvc", "repro", "--dry", **environment).stdout
    lines = [line for line in printed.splitlines() if line.startswith("Running stage")]
    return {line.split("'")[1] for line in lines} - {"present"}


def stage_of(rule: str) -> str:
    return next((stage for stage, rules in STAGES.items() if rule in rules.split()), "results@cxr")


# Changes. Each is done to a copy of the finished repository.


def edit(file: str, old: str, new: str):
    def change(folder: Path) -> None:
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new, 1))

    return change


def append(file: str, text: str):
    def change(folder: Path) -> None:
        with (folder / file).open("a") as handle:
            handle.write(text)

    return change


def code(file: str):
    """A line of code that was not there."""
    return append(f"src/scansynth/{file}", "\nADDED = 1\n")


def setting(**sections):
    """Keys of the experiment; None takes one away."""

    def change(folder: Path) -> None:
        file = folder / "config/experiments/cxr.yaml"
        values = yaml.safe_load(file.read_text())
        for name, section in sections.items():
            values[name] = values.get(name, {}) | section if isinstance(section, dict) else section
        file.write_text(yaml.safe_dump(values))

    return change


def flip(file: str):
    """Other bytes, of the same size and date."""

    def change(folder: Path) -> None:
        path = folder / file
        state, content = path.stat(), bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))

    return change


def touch(*patterns: str):
    """A date of now, for each file in turn, the last one first: against the order in which they are made."""

    def change(folder: Path) -> None:
        files = [file for pattern in patterns for file in folder.glob(pattern) if file.is_file()]
        assert files
        for file in sorted(files, key=lambda file: file.stat().st_mtime_ns, reverse=True):
            file.touch()

    return change


def delete(*names: str):
    def change(folder: Path) -> None:
        for name in names:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def reordered(folder: Path) -> None:
    file = folder / "config/experiments/cxr.yaml"
    values = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump(dict(reversed(values.items())), sort_keys=False))


def another_size(folder: Path) -> None:
    """Images of another size, in the experiment and in dvc.yaml: the old store and all that was made of it stay."""
    setting(images={"size": 96})(folder)
    edit("dvc.yaml", "size: 64", "size: 96")(folder)


def another_experiment(folder: Path) -> None:
    (folder / "config/experiments/other.yaml").write_text("title: other\ndata: {dataset: brain}\n")


def renamed(folder: Path) -> None:
    first = sorted((folder / "data/raw/chest/files/images").iterdir())[0]
    first.rename(first.with_name("renamed.dcm"))


def elsewhere_and_back(folder: Path) -> None:
    """A branch with other code and settings, looked at and left."""
    repository.git(folder, "checkout", "--quiet", "-b", "other")
    code("train.py")(folder)
    setting(train={"steps": 7})(folder)
    repository.commit(folder, "other")
    repository.git(folder, "checkout", "--quiet", "-")


def version(library: str):
    """Another version of a library: its metadata, found before the installed one's."""
    return {"library": library}


@dataclass
class Case:
    """A change, the rules that it makes run with all that follows, and whether DVC calls though nothing has to run.

    DVC watches the experiment's file, the workflow's folder and the digests of all code as a whole.
    """

    change: object
    rules: set[str]
    calls: bool = False
    store: str = "chest_64"


ALL = set(NEXT)
EVALUATED = {"fid", "inception_score", "coverage", "diversity", "memorization", "likelihood", "anatomy"}
SAMPLING = {"synthesise", "gather", "pca", "untrained"}
CASES = {
    # Code.
    "a comment in a stage": Case(append("src/scansynth/train.py", "# why\n"), set()),
    "what a setting is said to be": Case(edit("src/scansynth/sections.py", "Number of images.", "How many."), set()),
    "a default of the sampler": Case(
        edit("src/scansynth/sections.py", "(0.5, 4.5), description=", "(0.5, 4.4), description="), after(*SAMPLING)
    ),
    "a docstring in a stage": Case(edit("src/scansynth/train.py", '"""', '"""Again: '), set()),
    "blank lines in a stage": Case(append("src/scansynth/train.py", "\n\n\n"), set()),
    "a line of code in a stage": Case(code("train.py"), after("train")),
    "a line of code in the calibration": Case(code("calibrate.py"), after("calibrate")),
    "a line of code in the sampler": Case(code("synthesise.py"), after(*SAMPLING)),
    "a line of code in a solver": Case(code("diffusion/solvers.py"), after("calibrate", *SAMPLING, "likelihood")),
    "a line of code in the guidance": Case(code("diffusion/guidance.py"), after("calibrate", *SAMPLING)),
    "a line of code in the network": Case(code("networks/unet.py"), after("train", *SAMPLING)),
    "a line of code in a distance": Case(code("evaluate/frechet.py"), after("fid")),
    "a line of code in a phantom": Case(code("acquire/phantoms/chest.py"), after("acquire", "segmenter")),
    "a line of code in a reader": Case(code("prepare/readers/dicom.py"), after("shard", "prepare")),
    "a line of code in a shared helper": Case(code("files.py"), ALL),
    "a line of code in a module of another target": Case(code("evaluate/sensitivity.py"), set(), calls=True),
    "a line of code in a module of no stage": Case(code("tracking.py"), set()),
    "a new module": Case(lambda folder: (folder / "src/scansynth/new.py").write_text("x = 1\n"), set()),
    "a rule's shell command": Case(
        edit(
            "workflow/rules/train.smk",
            "{params.launcher} -m scansynth.train",
            "nice {params.launcher} -m scansynth.train",
        ),
        after("train"),
        calls=True,
    ),
    "a rule's shell command, its old one not remembered": Case(
        lambda folder: (CASES["a rule's shell command"].change(folder), delete(".snakemake")(folder)),
        after("train"),
        calls=True,
    ),
    "a rule's input": Case(
        edit("workflow/rules/evaluate.smk", 'samples="results/{name}/samples', 'samples="results/{name}/untrained'),
        after("picture"),
        calls=True,
    ),
    "an input of many rules": Case(
        edit("workflow/rules/common.smk", '"pca": "results/{name}/pca.npy"', '"pca": "results/{name}/untrained.npy"'),
        after("extract", "memorization", "diversity", "anatomy"),
        calls=True,
    ),
    "a rule's resources": Case(edit("workflow/rules/train.smk", "runtime=240", "runtime=241"), set(), calls=True),
    "a comment in a rule": Case(
        edit("workflow/rules/train.smk", "    input:\n", "    input:\n        # why\n"), set(), calls=True
    ),
    # Configuration. DVC watches the experiment's file as a whole: it calls, and Snakemake says that nothing has to run.
    "data.seed": Case(setting(data={"seed": 1}), after("acquire")),
    "images.size": Case(another_size, after("shard", "prepare", "segmenter"), store="chest_96"),
    "images.split_seed": Case(setting(images={"split_seed": 1}), after("shard", "prepare", "segmenter")),
    "network.dropout": Case(setting(network={"dropout": 0.1}), after("train", "untrained")),
    "diffusion.min_snr_gamma": Case(setting(diffusion={"min_snr_gamma": 4}), after("train", "untrained")),
    "train.learning_rate": Case(setting(train={"learning_rate": 3e-3}), after("train")),
    "calibrate.autoguidance": Case(setting(calibrate={"autoguidance": 1.1}), after("calibrate")),
    "sample.guidance": Case(setting(sample={"guidance": 2}), after(*SAMPLING)),
    "probe.steps": Case(setting(probe={"steps": 6}), after("probe")),
    "extract.extractors": Case(setting(extract={"extractors": ["probe"]}), after("extract")),
    "reader.steps": Case(setting(reader={"steps": 5}), after("reader")),
    "segmenter.steps": Case(setting(segmenter={"steps": 4}), after("segmenter")),
    "evaluate.bootstrap": Case(setting(evaluate={"bootstrap": 6}), after(*EVALUATED)),
    "likelihood.steps": Case(setting(likelihood={"steps": 3}), after("likelihood")),
    "memorization.false_alarms": Case(setting(memorization={"false_alarms": 0.01}), after("memorization")),
    "sensitivity.count, of another target": Case(setting(sensitivity={"count": 32}), set(), calls=True),
    "title": Case(setting(title="another"), set(), calls=True),
    "a default written down": Case(setting(sample={"solver": "dpm_solver_2m"}), set(), calls=True),
    "the order of the keys": Case(reordered, set()),
    "a comment in the experiment": Case(append("config/experiments/cxr.yaml", "# why\n"), set()),
    "another experiment": Case(another_experiment, set()),
    "a data set's citation": Case(
        edit("config/datasets/chest.yaml", "citation: ", "citation: Again. "),
        after("acquire", "listing", "shard", "prepare", "anatomy"),
    ),
    # Files.
    "a raw file's bytes": Case(flip("data/raw/chest/files/images/00000001_000.dcm"), after("acquire")),
    "a raw file's date": Case(touch("data/raw/chest/files/images/00000001_000.dcm"), set()),
    "a raw file's name": Case(renamed, after("acquire")),
    "the trained model's bytes": Case(flip("results/cxr/trained.safetensors"), after("train")),
    "the model's bytes": Case(flip("results/cxr/model.safetensors"), after("calibrate")),
    "the segmenter's bytes": Case(flip("results/cxr/segmenter.safetensors"), after("segmenter")),
    # Its shards are not kept.
    "the samples' bytes": Case(flip("results/cxr/samples.npy"), after("synthesise")),
    "a figure's bytes": Case(flip("results/fid_cxr.json"), after("fid")),
    "the store's table": Case(flip("data/images/chest_64.csv"), after("prepare", "shard")),
    "the samples deleted, their figures there": Case(delete("results/cxr/samples.npy"), set(), calls=True),
    "a figure deleted": Case(delete("results/fid_cxr.json"), after("fid")),
    "the model's record deleted": Case(delete("results/cxr/model.record.json"), after("calibrate")),
    "all dates turned round": Case(touch("data/**/*", "results/**/*"), set()),
    "the configuration's dates": Case(touch("config/**/*", "workflow/**/*", "src/**/*.py"), set()),
    # Tools.
    "Snakemake's memory cleared": Case(delete(".snakemake"), set()),
    "our caches cleared": Case(delete(".scansynth"), set()),
    "DVC's cache cleared": Case(delete(".dvc/cache"), set(), calls=True),
    "another branch and back": Case(elsewhere_and_back, set()),
    "another version of a library of one stage": Case(version("simpleitk"), after("shard", "prepare")),
    "another version of a library of no stage": Case(version("requests"), set()),
}


def test_there_are_enough():
    assert len(CASES) >= 40


@pytest.mark.parametrize("name", CASES)
def test_change(changed, name):
    case, environment = CASES[name], {}
    if isinstance(case.change, dict):
        metadata = changed / "libraries" / f"{case.change['library']}-99.0.dist-info" / "METADATA"
        metadata.parent.mkdir(parents=True)
        metadata.write_text(f"Metadata-Version: 2.1\nName: {case.change['library']}\nVersion: 99.0\n")
        environment["PYTHONPATH"] = f"{changed / 'libraries'}{os.pathsep}{changed / 'src'}"
    else:
        case.change(changed)
    compare(name, changed, case.rules, case.calls, case.store, **environment)


def compare(
    name: str, folder: Path, expected: set[str], calls: bool = False, store: str = "chest_64", **environment: str
) -> None:
    """Hold what has to run against what is expected, and print a row of the table."""
    rules, stages = to_run(folder, store=store, **environment), to_call(folder, **environment)
    print(f"{name:50} {' '.join(sorted(rules)) or 'nothing'}; DVC calls {' '.join(sorted(stages)) or 'nothing'}")
    assert rules == expected
    first = rules - {later for rule in rules for later in NEXT[rule].split()}
    called = {stage_of(rule) for rule in first}
    # DVC's dry run goes no farther than to the stage whose outputs are not there yet.
    assert stages >= (called if store == "chest_64" else {"data@cxr"})
    assert bool(stages) == bool(rules or calls)


@pytest.fixture(scope="module")
def other_branch(finished_repository, tmp_path_factory):
    """A repository on another branch with other settings, whose results DVC has made there."""
    folder = repository.copied(finished_repository, tmp_path_factory.mktemp("other") / "copy")
    repository.git(folder, "checkout", "--quiet", "-b", "other")
    setting(likelihood={"steps": 3})(folder)
    repository.dvc(folder, "repro")
    repository.commit(folder, "other")
    return folder


@pytest.fixture
def other(other_branch, tmp_path):
    return repository.copied(other_branch, tmp_path / "copy")


def test_dvc_runs_what_has_to_run(finished_repository, other):
    compare("dvc repro on another branch", other, set())
    model, figure = "results/cxr/model.safetensors", "results/likelihood_cxr.json"
    assert sha256(other / model) == sha256(finished_repository / model)
    assert sha256(other / figure) != sha256(finished_repository / figure)
    assert "steps: 3" in (other / "config/experiments/cxr.yaml").read_text()


def test_another_branchs_results_made_and_back(other):
    repository.git(other, "checkout", "--quiet", "-")
    repository.dvc(other, "checkout")
    compare("another branch's results made, and back", other, set())


def test_results_of_another_branch_under_these_settings(other):
    repository.git(other, "checkout", "--quiet", "-")
    repository.git(other, "checkout", "--quiet", "other", "--", "dvc.lock")
    repository.dvc(other, "checkout")
    compare("results of another branch under these settings", other, after("likelihood"))


def test_after_snakemake_alone_dvc_has_only_to_look(changed):
    setting(likelihood={"steps": 3})(changed)
    repository.snakemake(changed, *EVERYTHING, SHEET.format("chest_64"))
    figures = {file: sha256(file) for file in changed.glob("results/*.json")}
    repository.dvc(changed, "repro")
    assert {file: sha256(file) for file in changed.glob("results/*.json")} == figures
    compare("Snakemake alone, then dvc repro", changed, set())

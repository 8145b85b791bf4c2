"""All experiments of a configuration folder, and what each stage of each is to be told."""

import json
import re
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from scansynth.acquire.layout import find_files, find_tables
from scansynth.config import Experiment, load_dataset, load_experiment, stage_settings
from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError


def _typed(value: Any) -> Any:
    """Values of ``--config``, all of which Snakemake leaves as text where they are nested, as YAML means them."""
    if isinstance(value, dict):
        return {key: _typed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_typed(inner) for inner in value]
    return yaml.safe_load(value) if isinstance(value, str) else value


class Experiments:
    """The experiments under ``folder``/experiments, each with the overrides under its name laid over its file.

    Raises:
        ScansynthError: if any file, or an override, is not allowed.
    """

    def __init__(self, folder: Path, overrides: dict[str, Any]) -> None:
        self.folder = folder
        names = sorted(file.stem for file in folder.glob("experiments/*.yaml"))
        for name in names:
            if not re.fullmatch("[A-Za-z0-9-]+", name):
                raise ScansynthError(
                    f"{self._file(name)}: an experiment's name may hold letters, digits and - only, since results are "
                    "named <kind>_<experiment>: rename the file"
                )
        for name, value in overrides.items():
            if name not in names or not isinstance(value, dict):
                raise ScansynthError(
                    f"--config {name}={value!r}: expected an experiment's name ({', '.join(names)}) and keys to lay "
                    "over its file, as in --config 'cxr={train: {steps: 500}}'"
                )
        self.experiments = {name: load_experiment(self._file(name), _typed(overrides.get(name))) for name in names}

    def _file(self, name: str) -> Path:
        return self.folder / "experiments" / f"{name}.yaml"

    @cached_property
    def datasets(self) -> dict[str, Dataset]:
        """The data sets that experiments use, by name."""
        used = sorted({experiment.data.dataset for experiment in self.experiments.values()})
        return {name: load_dataset(self.folder / "datasets" / f"{name}.yaml") for name in used}

    def __getitem__(self, name: str) -> Experiment:
        if name not in self.experiments:
            known = ", ".join(self.experiments)
            raise ScansynthError(f"there is no experiment {name!r}: {self._file(name)} is missing; known: {known}")
        return self.experiments[name]

    def settings(self, stage: str, name: str) -> str:
        """What ``stage`` of the experiment ``name`` is told, as JSON."""
        experiment = self[name]
        return stage_settings(stage, experiment, self.datasets[experiment.data.dataset])

    def generator_settings(self, name: str) -> str:
        """What the train stage is told where it trains the generator of a fraction of the patients."""
        experiment = self[name]
        steps = experiment.subset.generator_steps or experiment.train.steps
        shorter = experiment.model_copy(update={"train": experiment.train.model_copy(update={"steps": steps})})
        return stage_settings("train", shorter, self.datasets[experiment.data.dataset])

    def shared_settings(self, stage: str, dataset: str, size: int | None = None) -> str:
        """What a stage is told whose result several experiments share: all those on ``dataset`` (of ``size`` pixels).

        Raises:
            ScansynthError: if they want different things of it, or none uses it.
        """
        users = [
            name
            for name, experiment in self.experiments.items()
            if experiment.data.dataset == dataset and size in (None, experiment.images.size)
        ]
        if not users:
            raise ScansynthError(f"no experiment in {self.folder} uses the data set {dataset!r} at this size")
        wanted = {self.settings(stage, name): name for name in users}
        if len(wanted) > 1:
            section = "data" if stage == "acquire" else "images, slices and patches"
            raise ScansynthError(
                f"the experiments {' and '.join(wanted.values())} share the data set {dataset!r}, but want it made in "
                f"different ways: give them the same {section}, or register it under a second name"
            )
        return next(iter(wanted))

    def supplied(self, dataset: str) -> tuple[Path | None, list[str]]:
        """What the user supplies of a data set: the folder that data.root names, and the paths below it, or below
        data/raw/<dataset>/files, of the images and tables that are not computed or fetched here."""
        named = json.loads(self.shared_settings("acquire", dataset))["data"]["root"]
        about = self.datasets[dataset]
        if about.phantom:
            return None, []
        root = Path(named).expanduser() if named else Path("data/raw") / dataset / "files"
        try:
            if named or about.origin == "supplied":
                found = find_files(root, about.layout)
            else:
                fetched = {download.file for download in about.downloads}
                found = [table for table in find_tables(root, about.layout) if table.name not in fetched]
        except (ScansynthError, OSError):
            found = []  # the acquire stage says what is wrong with the folder
        return root if named else None, [file.relative_to(root).as_posix() for file in found]

    def images(self, name: str) -> str:
        """Where the experiment's image store lies: the path of its array, less the suffix."""
        experiment = self[name]
        return f"data/images/{experiment.data.dataset}_{experiment.images.size}"

    def anatomy(self, name: str) -> str:
        """What the experiment's images show, where there are measures of it: chest, brain, tissue or none."""
        experiment = self[name]
        if experiment.anatomy.domain != "auto":
            return experiment.anatomy.domain
        return self.datasets[experiment.data.dataset].anatomy or "none"

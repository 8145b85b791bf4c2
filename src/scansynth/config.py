"""The configuration: one pydantic model, from which the schema and the annotated defaults are generated.

An experiment is one file, ``config/experiments/<name>.yaml``; a data set is one file, ``config/datasets/<name>.yaml``.
Each stage is given only the sections that it uses (``SECTIONS``), so that a change elsewhere does not run it again.
"""

import difflib
import json
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from scansynth.dataset import Dataset
from scansynth.errors import ScansynthError
from scansynth.sections import (
    Anatomy,
    Arm,
    Augmentation,
    Calibrate,
    Data,
    Diffusion,
    Evaluate,
    Extract,
    Filters,
    Guidance,
    Images,
    Likelihood,
    Memorization,
    Network,
    Patches,
    Probe,
    Reader,
    Sample,
    Section,
    Segmenter,
    Sensitivity,
    Slices,
    Subset,
    Synthetic,
    Task,
    Train,
)

T = TypeVar("T", bound=BaseModel)
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # several times as fast, where PyYAML was built with libyaml
Preset = Literal["laptop", "recommended", "full"]


class Experiment(Section):
    """One experiment: ``config/experiments/<name>.yaml``."""

    title: str = Field(description="What the experiment is, in a line.")
    preset: Preset | None = Field(
        None, description="A file of config/presets, whose keys hold where the experiment does not have its own."
    )
    data: Data
    images: Images = Images()
    slices: Slices = Slices()
    patches: Patches = Patches()
    network: Network = Network()
    diffusion: Diffusion = Diffusion()
    train: Train = Train()
    calibrate: Calibrate = Calibrate()
    sample: Sample = Sample()
    guidance: Guidance = Guidance()
    probe: Probe = Probe()
    extract: Extract = Extract()
    reader: Reader = Reader()
    segmenter: Segmenter = Segmenter()
    evaluate: Evaluate = Evaluate()
    likelihood: Likelihood = Likelihood()
    memorization: Memorization = Memorization()
    filters: Filters = Filters()
    anatomy: Anatomy = Anatomy()
    sensitivity: Sensitivity = Sensitivity()
    subset: Subset = Subset()
    task: Task = Task()
    synthetic: Synthetic = Synthetic()
    arm: Arm = Arm()
    augmentation: Augmentation = Augmentation()

    @model_validator(mode="after")
    def _stains_have_colours(self) -> "Experiment":
        if self.patches.stain != "none" and self.images.channels != "rgb":
            raise ValueError(f"patches.stain is {self.patches.stain}: that needs images.channels rgb")
        return self

    @model_validator(mode="after")
    def _mixed_batches_have_both(self) -> "Experiment":
        for name in self.augmentation.arms:
            if name.startswith("mixed") and not 0 < self.arm.synthetic_of(name) < self.arm.batch:
                raise ValueError(f"augmentation.arms: {name} leaves one kind none of the {self.arm.batch} of arm.batch")
        return self


class Settings(BaseModel):
    """The sections that a stage was given; the others are None."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: Dataset | None = None
    data: Data | None = None
    images: Images | None = None
    slices: Slices | None = None
    patches: Patches | None = None
    network: Network | None = None
    diffusion: Diffusion | None = None
    train: Train | None = None
    calibrate: Calibrate | None = None
    sample: Sample | None = None
    guidance: Guidance | None = None
    probe: Probe | None = None
    extract: Extract | None = None
    reader: Reader | None = None
    segmenter: Segmenter | None = None
    evaluate: Evaluate | None = None
    likelihood: Likelihood | None = None
    memorization: Memorization | None = None
    filters: Filters | None = None
    anatomy: Anatomy | None = None
    sensitivity: Sensitivity | None = None
    subset: Subset | None = None
    task: Task | None = None
    synthetic: Synthetic | None = None
    arm: Arm | None = None
    augmentation: Augmentation | None = None


# The sections that each stage (a module of the package) reads: its results depend on these keys and on no others.
SECTIONS: dict[str, tuple[str, ...]] = {
    "acquire": ("dataset", "data"),
    "acquire.weights": (),
    "prepare.listing": ("dataset",),
    "prepare.shard": ("dataset", "images", "slices", "patches"),
    "prepare": ("dataset", "images", "slices", "patches"),
    "prepare.contact_sheet": (),
    "train": ("network", "diffusion", "train"),
    "calibrate": ("calibrate",),
    "synthesise": ("sample",),
    "gather": ("sample",),
    "synthesise_guided": ("sample", "guidance"),
    "baselines.pca": ("sample",),
    "baselines.untrained": ("network", "diffusion", "sample"),
    "evaluate.probe": ("probe",),
    "evaluate.extract": ("extract",),
    "evaluate.features": ("extract",),
    "evaluate.fid": ("evaluate",),
    "evaluate.inception_score": ("evaluate",),
    "evaluate.coverage": ("evaluate",),
    "evaluate.diversity": ("evaluate",),
    "evaluate.likelihood": ("evaluate", "likelihood"),
    "evaluate.memorization": ("evaluate", "memorization"),
    "evaluate.reader": ("reader",),
    "evaluate.filters": ("evaluate", "memorization", "filters"),
    "evaluate.segmenter": ("images", "segmenter"),
    "evaluate.anatomy": ("dataset", "evaluate", "anatomy"),
    "evaluate.sensitivity": ("dataset", "extract", "evaluate", "memorization", "anatomy", "sensitivity"),
    "evaluate.guidance": ("dataset", "sample", "guidance", "evaluate", "anatomy"),
    "evaluate.picture": (),
    "evaluate.figures": (),
    "downstream.subset": ("subset",),
    "downstream.synthetic": ("sample", "task", "synthetic"),
    "downstream.arm": ("task", "synthetic", "arm"),
    "downstream.augmentation": ("task", "arm", "augmentation"),
}


# Stages that gather what jobs of another one have made: its code is theirs, since the shards do not stay.
SHARDS = {"prepare": "prepare.shard", "gather": "synthesise", "evaluate.features": "evaluate.extract"}


def load_experiment(path: Path, overrides: dict[str, Any] | None = None) -> Experiment:
    """Read and check an experiment: ``overrides`` laid over its file, and this over the preset that they name.

    Mappings are merged key by key. Presets lie in ``presets``, beside the folder of the experiments.

    Raises:
        ScansynthError: naming file, key, value and what is allowed.
    """
    values = _merged(_read_yaml(path), overrides or {})
    if values.get("preset") in get_args(Preset):  # what else there is, validation names
        values = _merged(_read_yaml(path.parents[1] / "presets" / f"{values['preset']}.yaml"), values)
    return validated(Experiment, values, path)


def load_dataset(path: Path) -> Dataset:
    """Read and check a data set's registration.

    Raises:
        ScansynthError: naming file, key, value and what is allowed.
    """
    return validated(Dataset, _read_yaml(path), path)


def parse_settings(stage: str, text: str) -> Settings:
    """The settings of a stage from the JSON that the workflow hands to it.

    Raises:
        ScansynthError: if a section that the stage needs is missing, or a value is not allowed.
    """
    values = json.loads(text)
    missing = [name for name in SECTIONS[stage] if name not in values]
    if missing:
        raise ScansynthError(f"--settings of {stage} lacks the section(s) {', '.join(missing)}")
    return validated(Settings, values, f"--settings of {stage}")


def stage_settings(stage: str, experiment: Experiment, dataset: Dataset) -> str:
    """The sections that ``stage`` reads, as JSON: what the workflow hands to the stage and watches for changes."""
    sections = {**experiment.model_dump(mode="json"), "dataset": dataset.model_dump(mode="json")}
    return json.dumps({name: sections[name] for name in SECTIONS[stage]})


def schema() -> str:
    """JSON schema of an experiment file, for editors that check YAML as it is written."""
    return json.dumps(Experiment.model_json_schema(), indent=2) + "\n"


def annotated_defaults() -> str:
    """All keys of an experiment with their defaults and meanings, as YAML; a key without a default is commented out."""
    lines = [
        "# Every key of an experiment with its default. Generated from src/scansynth/config.py by `make config`:",
        "# for reading. To change a value, write it into config/experiments/<name>.yaml.",
        "",
    ]
    for name, field in Experiment.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            lines += [f"# {(field.annotation.__doc__ or '').strip()}", f"{name}:"]
            lines += [*_annotated(field.annotation, "  "), ""]
        elif field.is_required():
            lines += [f"# {name}:   # required. {field.description}", ""]
        else:
            allowed = _allowed(Experiment.model_json_schema()["properties"][name])
            lines += [f"{name}: {json.dumps(field.default)}   # {field.description} Allowed: {allowed}.", ""]
    return "\n".join(lines).rstrip() + "\n"


def _annotated(section: type[Section], indent: str) -> list[str]:
    lines = []
    properties = section.model_json_schema()["properties"]
    for name, field in section.model_fields.items():
        allowed = _allowed(properties[name])
        meaning = f"{field.description}{f' Allowed: {allowed}.' if allowed else ''}"
        if field.is_required():
            lines.append(f"{indent}# {name}:   # required. {meaning}")
        else:
            value = json.dumps(field.default)
            lines.append(f"{indent}{name}: {value}   # {meaning}")
    return lines


def _allowed(prop: dict[str, Any]) -> str:
    if "anyOf" in prop:  # one of several types; what is allowed of None needs no words
        return "; ".join(filter(None, map(_allowed, prop["anyOf"])))
    if "enum" in prop:
        return ", ".join(map(str, prop["enum"]))
    words = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    return ", ".join(f"{sign} {prop[key]:g}" for key, sign in words.items() if key in prop)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)
    except FileNotFoundError:
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml"))) or "none"
        raise ScansynthError(f"{path}: there is no such file; known in {path.parent}: {known}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ScansynthError(f"{path}: not readable as YAML: {error}") from error
    if not isinstance(values, dict):
        raise ScansynthError(f"{path}: expected keys and values, found {type(values).__name__}")
    return values


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        inner = result.get(key)
        result[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result


def validated(model: type[T], values: dict[str, Any], source: Path | str) -> T:
    """``values`` as a ``model``.

    Raises:
        ScansynthError: naming ``source``, key, value and what is allowed.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = "\n".join(f"  {_problem(model, details)}" for details in error.errors())
        raise ScansynthError(f"{source}:\n{problems}") from None


def _problem(model: type[BaseModel], details: Any) -> str:
    """One finding of pydantic as: key, value found, what is allowed."""
    location = details["loc"]
    key = ".".join(map(str, location))
    if details["type"] == "extra_forbidden":
        known = sorted(_fields(model, location[:-1]))
        close = difflib.get_close_matches(str(location[-1]), known, 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"{key}: unknown key (value {details['input']!r}); {hint}allowed: {', '.join(known)}"
    if details["type"] == "missing":
        return f"{key}: required, and missing"
    return f"{key or 'value'}: {details['msg']}, found {details['input']!r}"


def _fields(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    for name in location:
        field = model.model_fields[name].annotation
        options = [field, *getattr(field, "__args__", ())]
        model = next(option for option in options if isinstance(option, type) and issubclass(option, BaseModel))
    return list(model.model_fields)


def main() -> None:
    """Write the generated files: config/schema/experiment.schema.json and config/defaults.yaml."""
    from scansynth.files import write_text

    config = Path("config")
    write_text(config / "schema" / "experiment.schema.json", schema())
    write_text(config / "defaults.yaml", annotated_defaults())


if __name__ == "__main__":
    main()

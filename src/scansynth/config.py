"""The configuration: one pydantic model, from which the schema and the annotated defaults are generated.

An experiment is one file, ``config/experiments/<name>.yaml``; a data set is one file, ``config/datasets/<name>.yaml``.
Each stage is given only the sections that it uses (``SECTIONS``), so that a change elsewhere does not run it again.
"""

import difflib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator, model_validator

from scansynth.errors import ScansynthError

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
T = TypeVar("T", bound=BaseModel)
Seed = Annotated[int, Field(ge=0, lt=2**32)]


def _rising(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] >= value[1]:
        raise ValueError("the range has to rise")
    return value


class Section(BaseModel):
    """A group of keys; an unknown one is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Download(Section):
    """A file that upstream offers."""

    name: str = Field(description="What data.parts calls it; files that belong together have one name.")
    url: str = Field(description="Its address.")
    file: str = Field(description="Its path below the data set's folder.")
    hash: str | None = Field(None, description="md5:... or sha256:...; null where upstream publishes none.")
    bytes: PositiveInt | None = Field(None, description="Its size, where upstream publishes it.")
    folder: str | None = Field(None, description="Where an archive is unpacked to; null: the file is used as it is.")
    default: bool = Field(True, description="Whether it is fetched where data.parts names nothing.")


class Catalogue(Section):
    """A bucket of files, too many to list here, with upstream's own lists of checksums (md5sum's form)."""

    url: str = Field(description="The address that the files' paths are appended to.")
    checksums: tuple[str, ...] = Field(description="Paths of the lists; the files in them are relative to the list.")


class Dataset(Section):
    """A source of images, as ``config/datasets/<name>.yaml`` registers it."""

    title: str = Field(description="Name of the data set, as a reader knows it.")
    layout: Literal[
        "nih",
        "rsna",
        "medmnist",
        "ixi",
        "brats",
        "dicom_folder",
        "nifti_folder",
        "image_folder",
        "patches_hdf5",
        "slides",
    ] = Field(description="How files and labels lie in the folder.")
    phantom: Literal["chest", "brain", "tissue"] | None = Field(
        None, description="The phantoms to compute; null: the images are real."
    )
    downloads: tuple[Download, ...] = Field((), description="What upstream offers without a login.")
    catalogue: Catalogue | None = Field(None, description="The same, where upstream lists the files itself.")
    how_to_get: str = Field("", description="What the user has to do where a login or a form is needed.")
    private: bool = Field(
        False, description="Patients may be identifiable: file names are not kept, and the pseudonyms' key is a secret."
    )
    split_by: Literal["patient", "subject", "slide", "study", "image"] = Field(
        "patient", description="What is kept in one split; study, image: the source does not say who is on an image."
    )
    findings: tuple[str, ...] = Field(
        (), description="The labels that the table may hold, any other one is an error; empty: those that it holds."
    )
    no_finding: str = Field("", description="The label that says that there is none of the others.")
    views: tuple[str, ...] = Field((), description="The view positions, in the same way.")
    anatomy: Literal["chest", "brain", "tissue"] | None = Field(
        None, description="What the images show, where there are measures of it."
    )
    licence: str = Field(description="The licence's name.")
    terms: str = Field("", description="What it asks of whoever uses the data.")
    citation: str = Field(description="The publication to cite.")
    address: str = Field(description="Where the data set is described.")

    @property
    def origin(self) -> Literal["phantom", "download", "supplied"]:
        """phantom: computed here, from nothing; download: fetched; supplied: a folder that the user has."""
        if self.phantom:
            return "phantom"
        return "download" if self.downloads or self.catalogue else "supplied"


class Data(Section):
    """Which images."""

    dataset: str = Field(description="A data set registered in config/datasets.")
    root: str | None = Field(
        None, description="A folder that holds the data set already; relative to the working folder."
    )
    parts: tuple[str, ...] = Field((), description="Which of the downloads; empty: those that a start needs.")
    count: PositiveInt = Field(
        2000, description="Phantoms to compute: radiographs, subjects or patches (phantoms only)."
    )
    seed: Seed = Field(0, description="Seed of the phantoms (phantoms only).")


class Images(Section):
    """How images are normalised and split."""

    size: Literal[64, 96, 128, 256] = Field(128, description="Height and width in pixels.")
    channels: Literal["gray", "rgb"] | Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        "gray", description="gray, rgb, or the contrasts of a volume that are stacked, as [t1, t2, flair]."
    )
    fit: Literal["pad", "crop"] = Field(
        "pad", description="How an image that is not square is made so; its aspect is kept."
    )
    pixel_mm: PositiveFloat | None = Field(
        None, description="Millimetres a pixel, cut or padded around the centre; null: the whole image is fitted."
    )
    window: tuple[float, PositiveFloat] | None = Field(
        None, description="Centre and width that are shown, in the file's unit (CT: HU); null: as the file says."
    )
    split: Literal["official", "hashed"] = Field(
        "official", description="official: upstream's own split where there is one; hashed: by the shares below."
    )
    train: PositiveFloat = Field(0.7, description="Share of the patients to train on.")
    val: PositiveFloat = Field(0.1, description="Share of the patients to choose and stop by.")
    test: PositiveFloat = Field(0.2, description="Share of the patients held out, for evaluation alone.")
    split_seed: Seed = Field(
        0, description="Seed of the split; a patient's place depends on it and on the patient alone."
    )
    max_quarantined: Fraction = Field(
        0.05, description="Stop if a larger share of the images, or of their sources, is unreadable."
    )

    @model_validator(mode="after")
    def _shares_add_up(self) -> "Images":
        if abs(self.train + self.val + self.test - 1) > 1e-9:
            raise ValueError(f"train + val + test is {self.train + self.val + self.test:g}; it has to be 1")
        return self


class Slices(Section):
    """How volumes are cut into images."""

    axis: Literal["axial", "coronal", "sagittal"] = Field("axial", description="The plane of the slices.")
    range: tuple[Fraction, Fraction] = Field(
        (0.0, 1.0), description="Part of the volume that is cut, from its inferior, posterior or left end."
    )
    foreground: Fraction = Field(
        0.1, description="Least share of a slice that has to be head (or body), in units of the fullest slice's."
    )
    every_mm: PositiveFloat | None = Field(None, description="Distance between slices; null: the volume's own.")
    registration: Literal["refuse", "rigid"] = Field(
        "refuse", description="Contrasts of a subject on different grids: left out, or registered to the first."
    )

    @field_validator("range")
    @classmethod
    def _range_rises(cls, value: tuple[float, float]) -> tuple[float, float]:
        return _rising(value)


class Patches(Section):
    """How slides are cut into images, and stains normalised."""

    microns: PositiveFloat = Field(1.0, description="Micrometres a pixel (slides only).")
    tissue: Fraction = Field(0.5, description="Least share of a patch that has to be tissue (slides only).")
    most: PositiveInt | None = Field(1000, description="Patches of a slide at most, spread evenly; null: all.")
    stain: Literal["none", "macenko"] = Field("none", description="Normalisation of hematoxylin and eosin.")


class Network(Section):
    """The UNet."""

    base_channels: Literal[32, 64] = Field(64, description="Channels at the finest scale of the network.")
    multipliers: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = Field(
        (1, 2, 2), description="Channels at each scale, in units of base_channels."
    )
    blocks: PositiveInt = Field(1, description="Residual blocks at each scale.")
    attention: tuple[bool, ...] = Field((False, False, True), description="Self-attention at each scale.")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="Dropout inside the residual blocks.")
    haar_levels: Literal[0, 1, 2] = Field(
        2, description="Levels of the orthonormal Haar front end; each is 4 times fewer pixels."
    )

    @model_validator(mode="after")
    def _one_attention_a_scale(self) -> "Network":
        if len(self.attention) != len(self.multipliers):
            raise ValueError(f"attention has {len(self.attention)} entries for {len(self.multipliers)} multipliers")
        return self


class Diffusion(Section):
    """The variance-preserving process and its objective."""

    log_snr_max: float = Field(10.0, description="log signal-to-noise ratio at t = 0 (before the shift).")
    log_snr_min: float = Field(-10.0, description="log signal-to-noise ratio at t = 1 (before the shift).")
    shift_from: PositiveInt = Field(
        64, description="The resolution whose schedule is unshifted: log-SNR += 2 ln(this / size)."
    )
    prediction: Literal["v", "epsilon", "x0"] = Field("v", description="What the network predicts.")
    weighting: Literal["min_snr", "uniform"] = Field("min_snr", description="Weight of a noise level in the loss.")
    min_snr_gamma: PositiveFloat = Field(5.0, description="Signal-to-noise ratio at which min-SNR weights are cut.")

    @model_validator(mode="after")
    def _more_signal_at_the_start(self) -> "Diffusion":
        if self.log_snr_max <= self.log_snr_min:
            raise ValueError(f"log_snr_max ({self.log_snr_max:g}) has to be above log_snr_min ({self.log_snr_min:g})")
        return self


class Train(Section):
    """The training loop."""

    steps: PositiveInt = Field(2000, description="Optimiser steps.")
    batch: PositiveInt = Field(16, description="Images a step.")
    learning_rate: PositiveFloat = Field(1e-3, description="Peak learning rate of AdamW.")
    warmup: Annotated[int, Field(ge=0)] = Field(100, description="Steps of linear warm-up; cosine decay to 0 follows.")
    ema: Annotated[float, Field(gt=0, lt=0.288)] = Field(
        0.1, description="Length of the weights' average, as a share of the run."
    )
    gradient_clip: PositiveFloat = Field(1.0, description="Largest norm of a gradient.")
    log_snr: tuple[float, float] = Field(
        (-5.0, 9.5), description="Range of log-SNR, before the shift, that noise levels are drawn from evenly."
    )
    null_probability: Fraction = Field(0.1, description="Share of the images that are shown without their condition.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: bf16 where the machine has it in hardware."
    )
    seed: Seed = Field(0, description="Seed of initial weights, order and noise.")
    validate_every: PositiveInt = Field(250, description="Steps between losses on held-out patients.")
    checkpoint_every: PositiveInt = Field(100, description="Steps between resumable checkpoints.")

    @field_validator("log_snr")
    @classmethod
    def _range_rises(cls, value: tuple[float, float]) -> tuple[float, float]:
        return _rising(value)


class Sample(Section):
    """Synthesis."""

    count: PositiveInt = Field(256, description="Number of images.")
    solver: Literal["dpm_solver_2m", "euler_maruyama"] = Field("dpm_solver_2m", description="The sampler.")
    steps: PositiveInt = Field(25, description="Evaluations of the network for an image.")
    guidance: Annotated[float, Field(ge=0)] = Field(1.0, description="Classifier-free guidance scale; 1 is none.")
    seed: Seed = Field(0, description="Seed; image i depends on it and on i alone.")
    batch: PositiveInt = Field(16, description="Images at once.")


class Probe(Section):
    """The classifier of real training images whose features the distances are measured in."""

    steps: PositiveInt = Field(400, description="Optimiser steps.")
    batch: PositiveInt = Field(32, description="Images a step.")
    learning_rate: PositiveFloat = Field(2e-3, description="Peak learning rate.")
    features: PositiveInt = Field(64, description="Width of the feature layer.")
    seed: Seed = Field(0, description="Seed of initial weights and order.")


class Extract(Section):
    """The feature spaces that images are compared in."""

    extractors: Annotated[tuple[Literal["inception", "xrv", "probe", "radiomics"], ...], Field(min_length=1)] = Field(
        ("probe", "radiomics"), description="Feature spaces; inception alone gives what is called FID."
    )
    inception: str | None = Field(
        None, description="File of FID's published Inception weights; null: they are downloaded where they are needed."
    )
    xrv: str | None = Field(None, description="File of TorchXRayVision's DenseNet121 weights, as safetensors.")

    @model_validator(mode="after")
    def _xrv_has_weights(self) -> "Extract":
        if "xrv" in self.extractors and not self.xrv:
            raise ValueError("extract.extractors names xrv: extract.xrv has to name the file of its weights")
        return self


class Reader(Section):
    """The classifier, trained on real images, that reads what synthetic ones show."""

    steps: PositiveInt = Field(500, description="Optimiser steps.")
    batch: PositiveInt = Field(32, description="Images a step.")
    learning_rate: PositiveFloat = Field(1e-3, description="Peak learning rate.")
    seed: Seed = Field(0, description="Seed of initial weights and order.")


class Segmenter(Section):
    """The network that outlines lungs and heart, trained on phantoms, whose outlines are known."""

    count: PositiveInt = Field(600, description="Phantoms to train it on.")
    steps: PositiveInt = Field(400, description="Optimiser steps.")
    batch: PositiveInt = Field(16, description="Images a step.")
    learning_rate: PositiveFloat = Field(2e-3, description="Peak learning rate.")
    seed: Seed = Field(
        0, description="Seed of initial weights and order; its phantoms are others than an experiment's."
    )


class Evaluate(Section):
    """Distances between sets of images."""

    bootstrap: PositiveInt = Field(100, description="Bootstrap replicates of an interval.")
    kid_subset: Annotated[int, Field(ge=2)] = Field(100, description="Images in each subset of the kernel distance.")
    kid_subsets: PositiveInt = Field(50, description="Number of these subsets.")
    neighbours: PositiveInt = Field(5, description="Neighbours that make an image's ball, for precision and recall.")
    small: PositiveInt = Field(2048, description="Results from fewer images than this are flagged as small.")
    seed: Seed = Field(0, description="Seed of subsets and replicates.")


class Memorization(Section):
    """The search for copies of training images."""

    false_alarms: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        0.005, description="Share of held-out images that the threshold may take for copies."
    )


class Anatomy(Section):
    """What is measured of the anatomy."""

    domain: Literal["auto", "chest", "brain", "tissue", "none"] = Field(
        "auto", description="Whose measures are taken; auto: those of what the data set is registered to show."
    )


class Sensitivity(Section):
    """The study of which metric sees which damage."""

    count: PositiveInt = Field(256, description="Images that are damaged, at most.")
    seed: Seed = Field(0, description="Seed of the damage.")


class Experiment(Section):
    """One experiment: ``config/experiments/<name>.yaml``."""

    title: str = Field(description="What the experiment is, in a line.")
    data: Data
    images: Images = Images()
    slices: Slices = Slices()
    patches: Patches = Patches()
    network: Network = Network()
    diffusion: Diffusion = Diffusion()
    train: Train = Train()
    sample: Sample = Sample()
    probe: Probe = Probe()
    extract: Extract = Extract()
    reader: Reader = Reader()
    segmenter: Segmenter = Segmenter()
    evaluate: Evaluate = Evaluate()
    memorization: Memorization = Memorization()
    anatomy: Anatomy = Anatomy()
    sensitivity: Sensitivity = Sensitivity()

    @model_validator(mode="after")
    def _stains_have_colours(self) -> "Experiment":
        if self.patches.stain != "none" and self.images.channels != "rgb":
            raise ValueError(f"patches.stain is {self.patches.stain}: that needs images.channels rgb")
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
    sample: Sample | None = None
    probe: Probe | None = None
    extract: Extract | None = None
    reader: Reader | None = None
    segmenter: Segmenter | None = None
    evaluate: Evaluate | None = None
    memorization: Memorization | None = None
    anatomy: Anatomy | None = None
    sensitivity: Sensitivity | None = None


# The sections that each stage (a module of the package) reads: its results depend on these keys and on no others.
SECTIONS: dict[str, tuple[str, ...]] = {
    "acquire": ("dataset", "data"),
    "acquire.weights": (),
    "prepare.listing": ("dataset",),
    "prepare.shard": ("dataset", "images", "slices", "patches"),
    "prepare": ("dataset", "images", "slices", "patches"),
    "prepare.contact_sheet": (),
    "train": ("network", "diffusion", "train"),
    "sample": ("sample",),
    "baselines.pca": ("sample",),
    "baselines.untrained": ("network", "diffusion", "sample"),
    "evaluate.probe": ("probe",),
    "evaluate.features": ("extract",),
    "evaluate.fid": ("evaluate",),
    "evaluate.inception_score": ("evaluate",),
    "evaluate.coverage": ("evaluate",),
    "evaluate.diversity": ("evaluate",),
    "evaluate.memorization": ("evaluate", "memorization"),
    "evaluate.reader": ("reader",),
    "evaluate.segmenter": ("images", "segmenter"),
    "evaluate.anatomy": ("dataset", "evaluate", "anatomy"),
    "evaluate.sensitivity": ("dataset", "extract", "evaluate", "memorization", "anatomy", "sensitivity"),
    "evaluate.picture": (),
}


def load_experiment(path: Path, overrides: dict[str, Any] | None = None) -> Experiment:
    """Read and check an experiment, ``overrides`` laid over the file (mappings are merged key by key).

    Raises:
        ScansynthError: naming file, key, value and what is allowed.
    """
    return _validated(Experiment, _merged(_read_yaml(path), overrides or {}), path)


def load_dataset(path: Path) -> Dataset:
    """Read and check a data set's registration.

    Raises:
        ScansynthError: naming file, key, value and what is allowed.
    """
    return _validated(Dataset, _read_yaml(path), path)


def parse_settings(stage: str, text: str) -> Settings:
    """The settings of a stage from the JSON that the workflow hands to it.

    Raises:
        ScansynthError: if a section that the stage needs is missing, or a value is not allowed.
    """
    values = json.loads(text)
    missing = [name for name in SECTIONS[stage] if name not in values]
    if missing:
        raise ScansynthError(f"--settings of {stage} lacks the section(s) {', '.join(missing)}")
    return _validated(Settings, values, f"--settings of {stage}")


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
        else:
            lines += [f"# {name}:   # required. {field.description}", ""]
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
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
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


def _validated(model: type[T], values: dict[str, Any], source: Path | str) -> T:
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

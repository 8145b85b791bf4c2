"""The sections of an experiment's configuration: what it may say of each stage."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt, field_validator, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
ArmName = Annotated[str, Field(pattern=r"^(synthetic|pretrained|oversampled|mixed_\d+(\.\d+)?)(_classical)?$")]


def _rising(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] >= value[1]:
        raise ValueError("the range has to rise")
    return value


Range = Annotated[tuple[float, float], AfterValidator(_rising)]


class Section(BaseModel):
    """A group of keys; an unknown one is an error, and so is a number that is none."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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
    range: Annotated[tuple[Fraction, Fraction], AfterValidator(_rising)] = Field(
        (0.0, 1.0), description="Part of the volume that is cut, from its inferior, posterior or left end."
    )
    foreground: Fraction = Field(
        0.1, description="Least share of a slice that has to be head (or body), in units of the fullest slice's."
    )
    every_mm: PositiveFloat | None = Field(None, description="Distance between slices; null: the volume's own.")
    registration: Literal["refuse", "rigid"] = Field(
        "refuse", description="Contrasts of a subject on different grids: left out, or registered to the first."
    )


class Patches(Section):
    """How slides are cut into images, and stains normalised."""

    microns: PositiveFloat = Field(1.0, description="Micrometres a pixel (slides only).")
    tissue: Fraction = Field(0.5, description="Least share of a patch that has to be tissue (slides only).")
    most: PositiveInt | None = Field(1000, description="Patches of a slide at most, spread evenly; null: all.")
    stain: Literal["none", "macenko"] = Field("none", description="Normalisation of hematoxylin and eosin.")


class Network(Section):
    """The network that denoises."""

    architecture: Literal["unet", "monai"] = Field(
        "unet", description="unet: this project's UNet2D; monai: MONAI's DiffusionModelUNet."
    )
    base_channels: Literal[32, 64] = Field(64, description="Channels at the finest scale of the network.")
    multipliers: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = Field(
        (1, 2, 2), description="Channels at each scale, in units of base_channels."
    )
    blocks: PositiveInt = Field(1, description="Residual blocks at each scale.")
    attention: tuple[bool, ...] = Field((False, False, True), description="Self-attention at each scale.")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="Dropout inside the residual blocks.")
    wavelet: Literal["symlet", "haar"] = Field(
        "symlet",
        description="Wavelet of the front end and of the prior; haar leaves blocks in the texture.",
    )
    wavelet_levels: Literal[0, 1, 2] = Field(2, description="Levels of the front end; each is 4 times fewer pixels.")
    checkpointing: bool = Field(False, description="Compute the blocks again on the way back: less memory, more time.")

    @model_validator(mode="after")
    def _one_attention_a_scale(self) -> "Network":
        if len(self.attention) != len(self.multipliers):
            raise ValueError(f"attention has {len(self.attention)} entries for {len(self.multipliers)} multipliers")
        return self


class Diffusion(Section):
    """The variance-preserving process and its objective."""

    log_snr_max: float = Field(11.5, description="log signal-to-noise ratio at t = 0 (before the shift).")
    log_snr_min: float = Field(
        -5.0,
        description="log signal-to-noise ratio at t = 1 (before the shift): samples start there, from the prior.",
    )
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
    accumulate: PositiveInt = Field(
        1,
        description="Parts, a power of two, of a step's batch: computed one after the other, or by several processes.",
    )
    learning_rate: PositiveFloat = Field(1e-3, description="Peak learning rate of Muon and AdamW.")
    warmup: Annotated[int, Field(ge=0)] = Field(100, description="Steps of linear warm-up; cosine decay to 0 follows.")
    ema: Annotated[tuple[Annotated[float, Field(gt=0, lt=0.288)], ...], Field(min_length=1)] = Field(
        (0.05, 0.1, 0.15), description="Lengths of the weights' average, as shares of the run; validation chooses."
    )
    gradient_clip: PositiveFloat = Field(1.0, description="Largest norm of a gradient.")
    null_probability: Fraction = Field(0.1, description="Share of the images that are shown without their condition.")
    augmentation: Fraction = Field(
        0.0, description="Probability of each geometric augmentation, of which the network is told, so that none leaks."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: bf16 where the machine has it in hardware."
    )
    compile: Literal["auto", "on", "off"] = Field("auto", description="torch.compile; auto: on CUDA.")
    seed: Seed = Field(0, description="Seed of initial weights, order and noise.")
    validate_every: PositiveInt = Field(250, description="Steps between losses on held-out patients.")
    checkpoint_every: PositiveInt = Field(100, description="Steps between resumable checkpoints.")


class Calibrate(Section):
    """How samples are drawn with a trained model, found once after its training."""

    autoguidance: Annotated[float, Field(ge=0)] = Field(
        1.2, description="Scale of the samples' guidance away from the prior's linear denoiser; 1 is none."
    )
    pilot: Annotated[int, Field(ge=0)] = Field(
        1024,
        description="Samples drawn beforehand, 64 at least, by which the power spectrum of all later ones is led to "
        "that of the training images; 0: none.",
    )
    seed: Seed = Field(0, description="Seed of these samples.")

    @field_validator("pilot")
    @classmethod
    def _chance_can_be_told(cls, value: int) -> int:
        if 0 < value < 64:
            raise ValueError("fewer than 64 samples don't tell what is chance: ask for more, or for 0, which is none")
        return value


class Sample(Section):
    """Synthesis."""

    count: PositiveInt = Field(256, description="Number of images.")
    solver: Literal["dpm_solver_2m", "heun", "ddim", "ddpm", "euler_maruyama", "predictor_corrector"] = Field(
        "dpm_solver_2m", description="The sampler; predictor_corrector needs hundreds of steps."
    )
    steps: PositiveInt = Field(
        16, description="Evaluations of the network for an image; enough for dpm_solver_2m, others need more."
    )
    guidance: Annotated[float, Field(ge=0)] = Field(1.0, description="Classifier-free guidance scale; 1 is none.")
    guidance_range: Range = Field(
        (0.5, 4.5), description="log-SNR, before the shift, between which guidance acts; else images are left to vary."
    )
    seed: Seed = Field(0, description="Seed; image i depends on it and on i alone.")
    batch: PositiveInt = Field(16, description="Images at once.")


class Guidance(Section):
    """The sweep of the guidance scale: distance from real images against label fidelity."""

    scales: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)] = Field(
        (1.0, 2.0, 3.0, 4.0), description="The scales, rising; 1 is none."
    )
    count: Annotated[int, Field(ge=2)] = Field(256, description="Images at each scale, and again at the chosen one.")
    seed: Seed = Field(1, description="Seed of the sweep's images; those at the chosen scale have the next one.")
    tolerance: Annotated[float, Field(ge=0)] = Field(
        0.25, description="How much farther than the nearest scale's (or real) images, as a share, may those chosen be."
    )

    @field_validator("scales")
    @classmethod
    def _scales_rise(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if list(value) != sorted(set(value)):
            raise ValueError("the scales have to rise")
        return value


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

    steps: PositiveInt = Field(1200, description="Optimiser steps.")
    batch: PositiveInt = Field(32, description="Images a step.")
    learning_rate: PositiveFloat = Field(2e-3, description="Peak learning rate.")
    seed: Seed = Field(0, description="Seed of initial weights and order.")


class Segmenter(Section):
    """The network that outlines lungs and heart, trained on phantoms, whose outlines are known."""

    count: PositiveInt = Field(600, description="Phantoms to train it on.")
    steps: PositiveInt = Field(800, description="Optimiser steps.")
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
    small: PositiveInt = Field(2048, description="Results from fewer images than this are flagged as small.")
    seed: Seed = Field(0, description="Seed of subsets and replicates.")


class Likelihood(Section):
    """How probable the model holds real images to be."""

    count: Annotated[int, Field(ge=10)] = Field(32, description="Images of each set, at most.")
    steps: PositiveInt = Field(
        24, description="Steps of the probability-flow ODE; each evaluates the network twice, with its derivative."
    )
    seed: Seed = Field(0, description="Seed of the dequantisation and of the probes; image i depends on it and i.")


class Memorization(Section):
    """The search for copies of training images."""

    false_alarms: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        0.005, description="Share of held-out images that the threshold may take for copies."
    )


class Filters(Section):
    """Which synthetic images are refused, in a set of their own beside the samples."""

    copies: bool = Field(False, description="Refuse what the search for copies calls a copy of a training image.")
    finding: Fraction = Field(
        0.0, description="Least probability, by the reader, of each finding that was asked for; 0: none is refused."
    )
    view: bool = Field(False, description="Refuse images whose view is read as another than was asked for.")


class Anatomy(Section):
    """What is measured of the anatomy."""

    domain: Literal["auto", "chest", "brain", "tissue", "none"] = Field(
        "auto", description="Whose measures are taken; auto: those of what the data set is registered to show."
    )


class Sensitivity(Section):
    """The study of which metric sees which damage."""

    count: PositiveInt = Field(64, description="Images that are damaged, at most.")
    seed: Seed = Field(0, description="Seed of the damage.")


class Subset(Section):
    """The patients of a fraction, in the experiment on augmentation, and the generator that has seen them alone."""

    seed: Seed = Field(0, description="Seed of the choice; the patients of a fraction are among those of a larger one.")
    generator_steps: PositiveInt | None = Field(
        None, description="Training steps of the generator of a fraction below 1; null: train.steps."
    )


class Task(Section):
    """What the classifiers of the experiment on augmentation have to tell."""

    target: str | None = Field(None, description="One finding, told from its absence; null: all, each for itself.")
    against: Literal["no_finding", "absence"] = Field(
        "no_finding", description="What a target is told from: images without any finding, or all without the target."
    )


class Synthetic(Section):
    """The synthetic images that classifiers are trained on."""

    images: PositiveInt = Field(1000, description="Images, asked for what the training images of the fraction show.")
    guidance: Annotated[float, Field(ge=0)] = Field(1.0, description="Classifier-free guidance scale; 1 is none.")
    seed: Seed = Field(0, description="Seed; no image is one of results/<name>/samples.npy.")


class Arm(Section):
    """The classifier of an arm: the same network and budget in each."""

    size: PositiveInt = Field(64, description="Pixels a side, at most, that it is given.")
    steps: Annotated[int, Field(ge=10)] = Field(400, description="Optimiser steps, those of pre-training among them.")
    batch: Annotated[int, Field(ge=2)] = Field(32, description="Images a step.")
    learning_rate: PositiveFloat = Field(2e-3, description="Peak learning rate.")
    flips: bool = Field(False, description="Classical augmentation mirrors and turns images, where no side is up.")

    def synthetic_of(self, arm: str) -> int:
        """Synthetic images in a batch of the arm mixed_N: N for each real one, rounded; 0 of other arms."""
        if not arm.startswith("mixed_"):
            return 0
        ratio = float(arm.split("_")[1])
        return round(self.batch * ratio / (1 + ratio))


class Augmentation(Section):
    """Whether synthetic images help a classifier."""

    fractions: Annotated[tuple[Annotated[float, Field(ge=0.001, le=1)], ...], Field(min_length=1)] = Field(
        (0.1, 1.0), description="Shares of the training patients that an arm, and its generator, may have."
    )
    arms: Annotated[tuple[ArmName, ...], Field(min_length=1)] = Field(
        ("synthetic", "mixed_1", "mixed_3", "pretrained", "oversampled", "mixed_1_classical"),
        description="What is compared with real and classical. mixed_N: N synthetic images for each real one; "
        "..._classical: with classical augmentation on top.",
    )
    seeds: Annotated[int, Field(ge=3)] = Field(3, description="Classifiers of each arm, each from a seed of its own.")
    least: Annotated[int, Field(ge=2)] = Field(
        10, description="Test patients that have to show a class, and not to, for its figures."
    )
    relevant: PositiveFloat = Field(0.02, description="Difference of the mean AUROC that would matter.")
    bootstrap: Annotated[int, Field(ge=2)] = Field(1000, description="Bootstrap replicates.")
    seed: Seed = Field(0, description="Seed of the replicates.")

    @field_validator("fractions", "arms")
    @classmethod
    def _each_once(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if len({f"{each:g}" if isinstance(each, float) else each for each in value}) < len(value):
            raise ValueError("each may be named once")
        return value

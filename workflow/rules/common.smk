# What rules ask of the configuration.


def settings(stage):
    """Sections of the experiment {name} that the stage reads."""
    return lambda wildcards: explained(EXPERIMENTS.settings, stage, wildcards.name)


def shared_settings(stage):
    """The same for a stage that experiments on {dataset} (of {size}) share."""
    return lambda wildcards: explained(
        EXPERIMENTS.shared_settings,
        stage,
        wildcards.dataset,
        int(wildcards.size) if hasattr(wildcards, "size") else None,
    )


def memory(megabytes):
    """What a job asks for; twice as much after a failure, for which too little may have been the reason."""
    return lambda wildcards, attempt: megabytes * min(attempt, 2)


def launcher(wildcards, resources):
    """Python, or torchrun for the processes of a node, which srun starts on each where there are several nodes."""
    if resources.nodes > 1:
        return (
            f"srun --nodes={resources.nodes} --ntasks={resources.nodes} --cpus-per-task=$OMP_NUM_THREADS"
            f" torchrun --nnodes {resources.nodes} --nproc-per-node {resources.processes}"
            " --rdzv-backend c10d --rdzv-id $SLURM_JOB_ID --rdzv-endpoint $(hostname)"
        )
    if resources.processes > 1:
        # Through a file: with an address, torchrun would listen on all interfaces.
        return (
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 torchrun --rdzv-backend c10d --rdzv-conf store_type=file"
            f" --nproc-per-node {resources.processes}"
        )
    return "python"


def training_memory(wildcards, attempt):
    """No more after the end of a slice, which is no lack of it."""
    fraction = f"_{wildcards.fraction}" if hasattr(wildcards, "fraction") else ""
    stage = "generator" if fraction else "train"
    log = Path("logs", stage, f"{wildcards.name}{fraction}.log")
    sliced = log.exists() and "the same command goes on from there" in log.read_text()
    return memory(6000)(wildcards, 1 if sliced else attempt)


def images(suffix):
    """A file of the image store of experiment {name}."""
    return lambda wildcards: explained(EXPERIMENTS.images, wildcards.name) + suffix


def explained(function, *arguments):
    """An error of the configuration as a message, without a traceback."""
    try:
        return function(*arguments)
    except ScansynthError as error:
        raise WorkflowError(str(error)) from None


# The images of an experiment, and beside them those that the gather and baselines rules make: as inputs, and as the
# options that their stages take.
STORE = {
    "pixels": images(".npy"),
    "table": images(".csv"),
    "manifest": images(".json"),
}
SETS = {
    **STORE,
    "samples": "results/{name}/samples.npy",
    "conditions": "results/{name}/samples.csv",
    "pca": "results/{name}/pca.npy",
    "pca_conditions": "results/{name}/pca.csv",
    "untrained": "results/{name}/untrained.npy",
    "untrained_conditions": "results/{name}/untrained.csv",
}


def options(inputs):
    """``--key FILE`` for each of the inputs, for a shell command."""
    return "".join(f" --{key} {{input.{key}}}" for key in inputs)


def inception_weights(wildcards):
    """FID's network, where the experiment {name} measures in its features."""
    extract = explained(EXPERIMENTS.__getitem__, wildcards.name).extract
    if "inception" not in extract.extractors:
        return []
    return extract.inception or rules.inception_weights.output.weights


def xrv_weights(wildcards):
    """TorchXRayVision's network, where the experiment {name} measures in its features."""
    extract = explained(EXPERIMENTS.__getitem__, wildcards.name).extract
    return extract.xrv if "xrv" in extract.extractors else []


def segmenter(wildcards):
    """The network that outlines lungs and heart, where the experiment {name} is of chests."""
    domain = explained(EXPERIMENTS.anatomy, wildcards.name)
    return "results/{name}/segmenter.safetensors" if domain == "chest" else []


def swept(wildcards):
    """The samples of each guidance scale, in the order of the scales."""
    scales = explained(EXPERIMENTS.__getitem__, wildcards.name).guidance.scales
    return [f"results/{wildcards.name}/guidance_{scale:g}.npy" for scale in scales]


def generator_settings(wildcards):
    """The same for the generator of a fraction of the patients."""
    return explained(EXPERIMENTS.generator_settings, wildcards.name)


def fraction_store(suffix):
    """A file of the image store of a fraction of the training patients; the whole one where that is all of them."""
    return lambda wildcards: (
        images(suffix)(wildcards)
        if wildcards.fraction == "1"
        else f"results/{wildcards.name}/subsets/{wildcards.fraction}/images{suffix}"
    )


def generator(wildcards):
    """The model that has seen this fraction of the training patients."""
    if wildcards.fraction == "1":
        return "results/{name}/model.safetensors"
    return "results/{name}/subsets/{fraction}/model.safetensors"


def synthetic(file):
    """The synthetic images of a fraction, or what they show, where the arm has any."""
    return lambda wildcards: (
        []
        if wildcards.arm in ("real", "classical")
        else f"results/{wildcards.name}/subsets/{wildcards.fraction}/{file}"
    )


def arms(wildcards):
    """What the classifiers of all arms, fractions and seeds of the experiment {name} say."""
    told = explained(EXPERIMENTS.__getitem__, wildcards.name).augmentation
    return [
        f"results/{wildcards.name}/arms/{fraction:g}/{arm}_{seed}.npz"
        for fraction in told.fractions
        for arm in ("real", "classical", *told.arms)
        for seed in range(told.seeds)
    ]


FRACTION = {
    "pixels": fraction_store(".npy"),
    "table": fraction_store(".csv"),
    "manifest": fraction_store(".json"),
}

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


def images(suffix):
    """A file of the image store of experiment {name}."""
    return lambda wildcards: explained(EXPERIMENTS.images, wildcards.name) + suffix


def explained(function, *arguments):
    """An error of the configuration as a message, without a traceback."""
    try:
        return function(*arguments)
    except ScansynthError as error:
        raise WorkflowError(str(error)) from None


# The images of an experiment, and beside them those that the sample and baselines rules make: as inputs, and as the
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

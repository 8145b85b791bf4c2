# What rules ask of the configuration and of the code. All of it goes into params as plain values, so that a result is
# made anew when, and only when, a key or a line of code that it depends on has changed.
from scansynth import digest


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


def code(stage):
    """Digest of the stage's module and of all that it imports from the package."""
    return digest.of_code(f"scansynth.{stage}")


def images(suffix):
    """A file of the image store of experiment {name}."""
    return lambda wildcards: explained(EXPERIMENTS.images, wildcards.name) + suffix


def supplied_files(wildcards):
    """Names, sizes and times of the files of a supplied folder: a change there makes the inventory anew."""
    return explained(EXPERIMENTS.supplied_files, wildcards.dataset)


def explained(function, *arguments):
    """An error of the configuration as a message, without a traceback."""
    try:
        return function(*arguments)
    except ScansynthError as error:
        raise WorkflowError(str(error)) from None

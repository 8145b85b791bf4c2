"""The figures that runs are compared by, in one file: what `dvc metrics show` and `dvc exp show` print a row of."""

from typing import Any

from scansynth import stage
from scansynth.files import read_json, write_json

SETS = ("samples", "floor")


def figures(
    fid: dict[str, Any],
    coverage: dict[str, Any],
    memorization: dict[str, Any],
    likelihood: dict[str, Any],
    anatomy: dict[str, Any],
) -> dict[str, float]:
    """A number a name, from the result files; their intervals and what they are beside stand there."""
    found = {}
    for space, of_space in fid["extractors"].items():
        for images in SETS:
            found[f"frechet_distance.{space}.{images}"] = of_space["frechet_distance"][images]["value"]
    for space, of_space in coverage["extractors"].items():
        found |= {f"{name}.{space}": of_space[name]["samples"]["value"] for name in ("precision", "recall")}
    found["copies"] = memorization["found"]["samples"]["copies"]["share"]
    bits = likelihood["bits_per_dimension"]["held_out"]
    found |= {f"bits_per_dimension.{name}": bits[name]["value"] for name in ("model", "prior")}
    for images in SETS:
        if (auroc := anatomy["label_fidelity"]["sets"][images]["mean_auroc"]) is not None:
            found[f"label_fidelity.{images}"] = auroc
        found[f"spectrum_deviation.{images}"] = anatomy["texture"]["spectrum_deviation"][images]["value"]
    return found


INPUTS = ("fid", "coverage", "memorization", "likelihood", "anatomy")


def work(job: stage.Job) -> None:
    """The stage."""
    found = figures(**{name: read_json(job.inputs[name]) for name in INPUTS})
    write_json(job.outputs["figures"], _nested(found))


def _nested(flat: dict[str, float]) -> dict[str, Any]:
    """Keys split at their dots, which DVC joins again."""
    result: dict[str, Any] = {}
    for key, value in flat.items():
        *groups, name = key.split(".")
        group = result
        for each in groups:
            group = group.setdefault(each, {})
        group[name] = value
    return result


def main(argv: list[str] | None = None) -> None:
    """Command line of the stage."""
    stage.run("evaluate.figures", work, inputs=INPUTS, outputs=("figures",), argv=argv)


if __name__ == "__main__":
    main()

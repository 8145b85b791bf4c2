"""Fetch the published weights of FID's Inception network."""

from scansynth.acquire.download import Remote, fetch
from scansynth.errors import ScansynthError
from scansynth.evaluate.published import ADDRESS, BYTES, SHA256
from scansynth.stage import Job, run


def work(job: Job) -> None:
    """The stage."""
    weights = job.outputs["weights"]
    try:
        fetch(Remote(ADDRESS, weights.name, f"sha256:{SHA256}", BYTES), weights.parent)
    except ScansynthError as error:
        raise ScansynthError(
            f"{error}\nThe weights are those of FID's Inception network: name a file of them as extract.inception, or "
            "leave inception out of extract.extractors."
        ) from error


def main(argv: list[str] | None = None) -> None:
    """Run the stage from the command line."""
    run("acquire.weights", work, outputs=("weights",), argv=argv)


if __name__ == "__main__":
    main()

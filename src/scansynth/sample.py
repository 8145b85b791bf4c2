"""Images of a wished-for condition from a trained model, as PNG or DICOM files: the command for people.

``python -m scansynth.sample --model results/cxr/model.safetensors --count 16 --findings Effusion --folder effusions``
"""

import argparse
import io
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from scansynth import model, secondary_capture
from scansynth.conditions import COLUMNS
from scansynth.config import Settings, validated
from scansynth.errors import ScansynthError
from scansynth.files import atomic, sha256
from scansynth.picture import COLOUR
from scansynth.request import Learnt
from scansynth.sections import Sample
from scansynth.stage import Job, Origin, plain_errors, write_record
from scansynth.store import write_table
from scansynth.synthesise import synthesise, wanted

SUFFIXES = {"png": ".png", "dicom": ".dcm"}


def make(path: Path, asked: dict[str, Any], options: Sample, kind: str, folder: Path) -> None:
    """Write ``options.count`` images of what is ``asked`` for to a new or empty folder.

    ``samples.csv`` says what each file was asked to show, and ``samples.record.json`` by what all were made; both come
    last, so that a folder without them is of a run that did not end. Image i is a function of the model, what is asked
    for, the seed, the sampler's settings and i.

    Args:
        path: the model.
        asked: findings (joined by |), view, sex, age in years; None is not asked for.
        options: the sampler's settings.
        kind: ``png`` or ``dicom``.
        folder: where the files go.

    Raises:
        ScansynthError: if the model or the folder is not as it should be, or the model does not know what is asked for.
    """
    started = time.monotonic()
    if not path.is_file():
        raise ScansynthError(f"--model {path}: there is no such file; snakemake {path} makes it, if an experiment does")
    origin = Origin.of("sample", Job(Settings(sample=options), {"model": path}, {}))
    denoiser, description = model.load_calibrated(path)
    learnt = Learnt.of(description, denoiser.prior.centre.numpy(), path)
    request = learnt.check(asked)
    claim(folder)
    shown = [learnt.complete(request, options.seed, i) for i in range(options.count)]
    denoiser, facts = model.on_best_device(denoiser)
    images = synthesise(denoiser, *wanted(description, shown), options)

    made_by = {"model": sha256(path)} | options.model_dump(exclude={"count", "batch"})
    rows = []
    for i, (image, row) in enumerate(zip(images, shown, strict=True)):
        for series, pixels in planes(image, description["channels"]).items():
            name = "_".join(filter(None, (f"{i:05d}", series))) + SUFFIXES[kind]
            content = ENCODERS[kind](pixels, row, made_by | {"index": i}, series)
            with atomic(folder / name) as partial:
                partial.write_bytes(content)
            rows.append({"file": name, **row})
    table = folder / "samples.csv"
    write_table(table, ("file", *COLUMNS), rows)
    files = {row["file"]: folder / row["file"] for row in rows}
    facts |= {"asked": request, "seed": options.seed, "images": options.count, "format": kind}
    job = Job(Settings(sample=options), {"model": path}, {"samples": table, **files}, facts=facts)
    # The files lie beside the record, and it may be handed on: folders, which may name a user, stay out of it.
    write_record("sample", job, origin, seconds=time.monotonic() - started, said=lambda file: file.name)


def claim(folder: Path) -> None:
    """See to it that the folder is there, empty and can be written to.

    Raises:
        ScansynthError: if not.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = sorted(folder.iterdir())
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ScansynthError(f"--folder {folder}: cannot be written to ({error.strerror}): name another") from error
    if found:
        raise ScansynthError(f"--folder {folder}: it holds files ({found[0].name}, ...): name a new one, or empty it")


def planes(image: np.ndarray, channels: Sequence[str]) -> dict[str, np.ndarray]:
    """An image (channels, size, size) as pictures: one, (size, size) or (size, size, 3); of contrasts one each."""
    if list(channels) == COLOUR:
        return {"": np.ascontiguousarray(np.moveaxis(image, 0, -1))}
    return {"": image[0]} if len(image) == 1 else dict(zip(channels, image, strict=True))


def png(pixels: np.ndarray, shown: dict[str, str], made_by: dict[str, Any], series: str) -> bytes:
    """A PNG file's bytes, with what the image is in its text."""
    info, content = PngInfo(), io.BytesIO()
    info.add_text("Description", f"{secondary_capture.SYNTHETIC} {secondary_capture.asked_for(shown)}")
    info.add_text("Source", json.dumps({**made_by, "series": series}, sort_keys=True))
    Image.fromarray(pixels).save(content, format="PNG", pnginfo=info)
    return content.getvalue()


ENCODERS = {"png": png, "dicom": secondary_capture.encode}


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    default = Sample()
    parser = argparse.ArgumentParser(
        prog="python -m scansynth.sample",
        description="Synthetic images of a wished-for condition. What is not asked for is drawn by its share in the "
        "model's training images (one finding, a view, a sex; of ages the mean).",
        allow_abbrev=False,
    )
    parser.add_argument("--model", type=Path, required=True, metavar="FILE", help="model.safetensors of an experiment")
    parser.add_argument("--folder", type=Path, required=True, help="where the images go; new, or empty")
    parser.add_argument("--count", type=int, required=True, help="number of images")
    parser.add_argument("--findings", help="joined by |, as 'Effusion|Nodule'; none: without findings")
    parser.add_argument("--view", help="as the data set calls it, such as PA")
    parser.add_argument("--sex", help="as the data set calls it, such as F")
    parser.add_argument("--age", type=float, help="in years")
    parser.add_argument("--guidance", type=float, default=default.guidance, help="scale; 1 is none (%(default)s)")
    parser.add_argument("--steps", type=int, default=default.steps, help="of the sampler (%(default)s)")
    parser.add_argument("--seed", type=int, default=default.seed, help="image i depends on it and i (%(default)s)")
    parser.add_argument("--format", choices=SUFFIXES, default="png", help="(%(default)s)")
    given = parser.parse_args(argv)
    with plain_errors("sample"):
        chosen = {key: getattr(given, key) for key in ("count", "guidance", "steps", "seed")}
        options = validated(Sample, chosen, "the command line")
        make(given.model, {key: getattr(given, key) for key in COLUMNS}, options, given.format, given.folder)


if __name__ == "__main__":
    main()

"""How every stage is run from the command line: settings in, files in, files out, a record beside them.

``python -m scansynth.<stage> --settings JSON --<input> FILE ... --<output> FILE ...``
"""

import argparse
import contextlib
import errno
import itertools
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scansynth import digest
from scansynth.config import SHARDS, Settings, parse_settings
from scansynth.errors import ScansynthError
from scansynth.files import sha256, stamp, write_json
from scansynth.lock import alone
from scansynth.rules import of_rules


@dataclass
class Job:
    """One run of a stage."""

    settings: Settings
    inputs: dict[str, Path]
    outputs: dict[str, Path]
    lists: dict[str, list[Path]] = field(default_factory=dict)  # inputs of which there are any number
    texts: dict[str, str] = field(default_factory=dict)  # arguments that are not files
    facts: dict[str, Any] = field(default_factory=dict)  # what the stage adds to its record: device, counts, ...


def run(
    name: str,
    work: Callable[[Job], None],
    *,
    inputs: Sequence[str] = (),
    outputs: Sequence[str],
    lists: Sequence[str] = (),
    texts: Sequence[str] = (),
    argv: Sequence[str] | None = None,
) -> None:
    """Parse the stage's command line, do its work, and write the record beside the first output.

    ``inputs`` and ``outputs`` name files, each given as ``--name FILE``, ``lists`` inputs of which there are any number
    (``--name FILE FILE``, or none), ``texts`` arguments that are not files. An error that the user can mend is printed
    without a traceback, and the process ends with status 1; finished files stay as they were.
    """
    job = _parse(name, inputs, outputs, lists, texts, argv)
    first = job.outputs[outputs[0]]
    with plain_errors(name), alone(_lock(first), f"making {first}"):
        for output in job.outputs.values():
            for partial in _partials(output):
                partial.unlink()  # of a run that was killed while it wrote
        started, origin = time.monotonic(), Origin.of(name, job)
        work(job)
        write_record(name, job, origin, seconds=time.monotonic() - started)


def _partials(output: Path) -> list[Path]:
    """What ``files.atomic`` has begun of the file, and of no other whose name begins like its own."""
    name = re.compile(rf"\.{re.escape(output.stem)}\.\d+\.partial{re.escape(output.suffix)}")
    return [path for path in output.parent.glob(".*.partial*") if name.fullmatch(path.name)]


def record_path(output: Path) -> Path:
    """Where the record of a job lies whose first output is ``output``."""
    return output.with_suffix(".record.json")


@dataclass(frozen=True)
class Origin:
    """What a result comes from, beside its settings: taken before the work, which may go on while others change it."""

    modules: dict[str, str]
    rule: str
    libraries: dict[str, str]
    read: dict[Path, tuple[list[int], str]]  # of each input its stamp and its hash

    @classmethod
    def of(cls, name: str, job: Job) -> "Origin":
        """That of the stage ``name`` as it is now."""
        files = [*job.inputs.values(), *itertools.chain(*job.lists.values())]
        read = {file: (stamp(file), sha256(file)) for file in files}
        code = loaded(name)
        return cls(digest.of_modules(*code), of_rules(*code), digest.libraries(*code), read)

    def hash(self, file: Path) -> str:
        """The hash of an input.

        Raises:
            ScansynthError: if the file has been replaced since: nobody can say which of the two was read.
        """
        before, known = self.read[file]
        if stamp(file) != before and sha256(file) != known:
            raise ScansynthError(f"{file} was changed while it was read: start again, now that it is as it should be")
        return known


def write_record(
    name: str, job: Job, origin: Origin, seconds: float, said: Callable[[Path], str] = Path.as_posix
) -> None:
    """Say what the job consumed and produced, by which code and settings, on what kind of machine and for how long.

    Paths are those given on the command line, relative to the working folder, or what is to be ``said`` of them;
    nothing of the host or the user is kept.

    Raises:
        ScansynthError: if an input is no longer what it was.
    """

    def read(file: Path) -> dict[str, str]:
        return {"path": said(file), "sha256": origin.hash(file)}

    settings, modules = recorded(job.settings), origin.modules
    record = {
        "stage": name,
        "inputs": {key: read(file) for key, file in job.inputs.items()}
        | {key: [read(file) for file in files] for key, files in job.lists.items()},
        "outputs": {key: {"path": said(file), "sha256": sha256(file)} for key, file in job.outputs.items()},
        "settings": settings,
        "digests": {
            "code": digest.of_value(modules),
            "settings": digest.of_value(settings),
            "rule": origin.rule,
            "modules": modules,
        },
        "facts": job.facts,
        "software": {"python": platform.python_version()} | origin.libraries,
        "machine": {"system": platform.system(), "architecture": platform.machine(), "cores": os.cpu_count()},
        "seconds": round(seconds, 2),
    }
    write_json(record_path(next(iter(job.outputs.values()))), record)


def loaded(name: str) -> tuple[str, ...]:
    """The modules that the stage runs, with the one whose shards it gathers, if it does."""
    stages = (name, SHARDS[name]) if name in SHARDS else (name,)
    return tuple(f"scansynth.{stage}" for stage in stages)


def recorded(settings: Settings) -> dict[str, Any]:
    """The settings as a record holds them: without the place of the user's folder, which is nobody else's business."""
    values = settings.model_dump(mode="json", exclude_none=True)
    if "data" in values:
        values["data"].pop("root", None)
    return values


def _parse(
    name: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    lists: Sequence[str],
    texts: Sequence[str],
    argv: Sequence[str] | None,
) -> Job:
    parser = argparse.ArgumentParser(prog=f"python -m scansynth.{name}", allow_abbrev=False)
    parser.add_argument(
        "--settings", required=True, help="the sections of the experiment that the stage reads, as JSON"
    )
    for file in (*inputs, *outputs):
        kind = "written" if file in outputs else "read"
        parser.add_argument(f"--{file}", type=Path, required=True, metavar="FILE", help=kind)
    for file in lists:
        parser.add_argument(f"--{file}", type=Path, default=[], metavar="FILE", nargs="*", help="read")
    for text in texts:
        parser.add_argument(f"--{text}", required=True)
    values = vars(parser.parse_args(argv))

    def named(names: Sequence[str]) -> dict:
        return {key: values[key] for key in names}

    with plain_errors(name):
        settings = parse_settings(name, values["settings"])
        for file in [*named(inputs).values(), *itertools.chain(*named(lists).values())]:
            if not file.is_file():
                raise ScansynthError(f"{file}: there is no such file; the stage before this one makes it")
    return Job(settings, named(inputs), named(outputs), named(lists), named(texts))


@contextlib.contextmanager
def plain_errors(name: str) -> Iterator[None]:
    """An error that the user can mend as a message, the process ending with status 1; any other as it is."""
    try:
        yield
    except ScansynthError as error:
        _fail(name, str(error))
    except OSError as error:
        where = error.filename or "the working folder"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            _fail(name, f"the disk is full (writing {where}). Make room and start again: what was finished is kept.")
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO):
            raise
        _fail(name, f"{where}: {error.strerror}. Mend that and start again: what was finished is kept.")
    except (MemoryError, RuntimeError) as error:
        # By name and words: torch has a class for it on CUDA alone, and most stages do without torch.
        if not re.search("MemoryError|out of memory|can't allocate memory", f"{type(error).__name__}: {error}"):
            raise
        less = "Lower train.batch, sample.batch, calibrate.pilot or images.size, or find more memory."
        _fail(name, f"out of memory ({error}). {less}")


def _fail(name: str, message: str) -> None:
    print(f"\nscansynth {name}: {message}", file=sys.stderr)
    raise SystemExit(1)


def _lock(output: Path) -> Path:
    """What is held while ``output`` is made: another process may be at it that outlived a killed workflow, say."""
    path = Path(".scansynth/locks") / f"{digest.of_value(output.as_posix())}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path

"""Write down what every stage's code and libraries are at present, for DVC, which sees files alone."""

import argparse
from pathlib import Path

from scansynth.config import SECTIONS
from scansynth.files import write_json
from scansynth.freshness import Present


def main(argv: list[str] | None = None) -> None:
    """Write the digest of each stage's code and the versions of the libraries that it can load, as JSON."""
    parser = argparse.ArgumentParser(prog="python -m scansynth.present", description=main.__doc__)
    parser.add_argument("file", type=Path)
    stages = {stage: Present(stage) for stage in SECTIONS}
    found = {stage: {"code": each.code, "libraries": each.libraries} for stage, each in stages.items()}
    write_json(parser.parse_args(argv).file, found)


if __name__ == "__main__":
    main()

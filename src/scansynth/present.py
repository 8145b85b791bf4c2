"""Write down what each stage's code, libraries and default settings are at present, for DVC, which sees files alone."""

import argparse
from pathlib import Path
from typing import Any

from scansynth.config import SECTIONS
from scansynth.files import write_json
from scansynth.freshness import Present
from scansynth.sections import Section


def defaults() -> dict[str, dict[str, Any]]:
    """What each section of the configuration says where an experiment does not."""
    schemas = {section.__name__: section.model_json_schema()["properties"] for section in Section.__subclasses__()}
    return {
        name: {key: about["default"] for key, about in properties.items() if "default" in about}
        for name, properties in schemas.items()
    }


def main(argv: list[str] | None = None) -> None:
    """Write the digest of each stage's code, the versions of the libraries that it can load, and defaults, as JSON."""
    parser = argparse.ArgumentParser(prog="python -m scansynth.present", description=main.__doc__)
    parser.add_argument("file", type=Path)
    stages = {stage: Present(stage) for stage in SECTIONS}
    found: dict[str, Any] = {stage: {"code": each.code, "libraries": each.libraries} for stage, each in stages.items()}
    write_json(parser.parse_args(argv).file, found | {"defaults": defaults()})


if __name__ == "__main__":
    main()

"""What of a rule a result depends on, and what not."""

import pytest

from scansynth import digest, rules
from scansynth.config import SECTIONS

COMMON = (
    'FILES = {\n    **MORE,\n    "a": "a.npy",\n}\nMORE = {\n    "b": "b.npy",\n}\nOTHER = {\n    "c": "c.npy",\n}\n'
)
TOPIC = """# Takes: a
rule first:
    input:
        **FILES,
    output:
        "x",
    threads: 2
    shell:
        "python -m scansynth.first --settings {params.settings:q}"
        " 2>&1"


rule second:
    input:
        "y",
    shell:
        "python -m scansynth.first.more --x"
"""


@pytest.fixture
def workflow(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "workflow" / "rules"
    folder.mkdir(parents=True)
    (folder / "common.smk").write_text(COMMON)
    (folder / "topic.smk").write_text(TOPIC)
    monkeypatch.setattr(digest, "PACKAGE", tmp_path / "src" / "scansynth")
    return folder


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("topic", "**FILES", "**FILES,\n        b='b'", True),
        ("topic", '"x"', '"z"', True),
        ("topic", "2>&1", "2>&1 | cat", True),
        ("common", "a.npy", "d.npy", True),
        ("common", "b.npy", "d.npy", True),
        ("common", "c.npy", "d.npy", False),
        ("topic", "threads: 2", "threads: 4", False),
        ("topic", "    input:\n", "    input:\n        # why\n", False),
        ("topic", '        "x",\n', '        # why\n        "x",  # because\n\n', False),
        ("topic", "first.more --x", "first.more --z", False),
        ("topic", '"y"', '"z"', False),
    ],
)
def test_edits(workflow, file, old, new, changed):
    before = rules.of_rules("scansynth.first")
    path = workflow / f"{file}.smk"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    assert (rules.of_rules("scansynth.first") != before) is changed


def test_every_stage_has_a_rule():
    found = [rules.of_rules(f"scansynth.{stage}") for stage in SECTIONS]
    assert len({*found, rules.of_rules("scansynth.none")}) == len(SECTIONS) + 1


def test_outside_a_checkout_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(digest, "PACKAGE", tmp_path / "lib" / "scansynth")
    assert rules.of_rules("scansynth.train") == rules.of_rules("scansynth.none")

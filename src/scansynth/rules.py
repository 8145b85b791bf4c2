"""What the workflow tells a stage: a short hash of the rule that runs it, so that a change is seen on any machine.

Snakemake knows of a changed shell command only where it ran the old one itself, and of a changed input not at all where
dates do not betray it.
"""

import io
import re
import textwrap
import tokenize
from pathlib import Path
from typing import Any

from scansynth import digest
from scansynth.remembered import Remembered

TOLD = ("input", "output", "params", "shell")  # the parts of a rule that a result depends on
LAYOUT = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)


def of_rules(*modules: str) -> str:
    """Digest of the rules that run ``python -m`` of ``modules``, without comments, threads, resources and logs.

    With the dictionaries of files (``SETS`` and the like) that they name. Left out are the bodies of the workflow's
    functions and ``use rule``: they choose files and settings, which records hold. Outside a checkout it is of no rule.
    """
    files = [_contents(file) for file in sorted((digest.PACKAGE.parents[1] / "workflow" / "rules").glob("*.smk"))]
    _contents.save()
    dictionaries = {name: value for file in files for name, value in file["dictionaries"].items()}
    rules = [rule for file in files for rule in file["rules"]]
    found = [rule for rule in rules if any(f"-m {module} " in rule for module in modules)]
    named, waiting = {}, list(found)
    while waiting:
        for name in sorted({*re.findall(r"\w+", waiting.pop())} & dictionaries.keys() - named.keys()):
            named[name] = dictionaries[name]
            waiting.append(dictionaries[name])
    return digest.of_value([found, named])


def _read(file: Path) -> dict[str, Any]:
    """The parts ``TOLD`` of each rule of a file, and the dictionaries that it gives names to, as words."""
    text = file.read_text(encoding="utf-8")
    rules = []
    for block in re.findall(r"^rule .*\n((?:[ \t#].*\n|\n)*)", text, flags=re.MULTILINE):
        parts = re.split(r"^(?=    \w)", block, flags=re.MULTILINE)
        told = [part for part in parts if part.strip().startswith(tuple(f"{name}:" for name in TOLD))]
        rules.append(" ".join(map(_words, told)))
    named = re.findall(r"^(\w+) = (\{\n.*?^\})", text, flags=re.MULTILINE | re.DOTALL)
    return {"rules": rules, "dictionaries": {name: _words(value) for name, value in named}}


def _words(code: str) -> str:
    tokens = tokenize.generate_tokens(io.StringIO(textwrap.dedent(code)).readline)
    return " ".join(token.string for token in tokens if token.type not in LAYOUT)


_contents = Remembered("rules", _read)

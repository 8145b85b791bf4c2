"""What a stage's result depends on, as short hashes that Snakemake compares between runs.

Snakemake sees the files of a rule, not the package behind ``python -m``, nor the part of the configuration that a stage
reads. Both go into the rule's ``params`` as digests, so that a result is made anew exactly when one of them changed.
"""

import ast
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent


def of_value(value: Any) -> str:
    """Sixteen hexadecimal digits that depend on a JSON-like value, and not on the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


@cache
def of_code(module: str) -> str:
    """Digest of a stage's code: its module and all of the package that it imports, directly or not.

    Read from the syntax trees without docstrings, so that a comment, a docstring or the layout of the code changes
    nothing. Imports inside functions count as well.
    """
    return of_value({name: ast.unparse(_tree(_file(name))) for name in sorted(closure(module))})


def closure(module: str) -> set[str]:
    """The modules of this package that ``python -m module`` can load, itself among them, as dotted names."""
    found: set[str] = set()
    waiting = [module, f"{module}.__main__"]
    while waiting:
        name = waiting.pop()
        if name in found or _file(name) is None:
            continue
        found.add(name)
        waiting += _parents(name)
        waiting += _imports(name)
    return found


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _imports(name: str) -> list[str]:
    names: list[str] = []
    for node in ast.walk(_tree(_file(name))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # ``from package import name`` may mean a module or something inside one: both are tried.
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.split(".")[0] == PACKAGE.name]


def _file(name: str) -> Path | None:
    """The file of a module or package, or None where the name is neither (a function imported from a module)."""
    path = PACKAGE.parent.joinpath(*name.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)


@cache
def _tree(file: Path) -> ast.Module:
    """The file's syntax tree without docstrings."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    return tree

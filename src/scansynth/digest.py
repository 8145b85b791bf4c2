"""What a stage's result depends on beside its files: short hashes of the code, of settings, and versions of libraries.

Snakemake sees the files of a rule, not the package behind ``python -m``, nor the part of the configuration that a stage
reads. Each stage writes these into the record beside its output, and ``freshness`` holds them against the present ones.
"""

import ast
import hashlib
import json
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from scansynth.remembered import Remembered

PACKAGE = Path(__file__).resolve().parent

# The libraries whose version can change a number, by the name of their import, with those that they load by themselves.
LIBRARIES = {
    "einops": ("einops",),
    "gdcm": ("python-gdcm",),
    "h5py": ("h5py",),
    "indexed_gzip": ("indexed-gzip",),
    "matplotlib": ("matplotlib",),
    "monai": ("monai",),
    "nibabel": ("nibabel",),
    "numpy": ("numpy",),
    "openslide": ("openslide-bin", "openslide-python"),
    "PIL": ("pillow",),
    "pydicom": ("pydicom", "pyjpegls", "pylibjpeg-openjpeg", "python-gdcm"),
    "scipy": ("scipy",),
    "SimpleITK": ("simpleitk",),
    "skimage": ("scikit-image",),
    "sklearn": ("scikit-learn",),
    "tiffslide": ("tiffslide",),
    "torch": ("torch",),
    "torchmetrics": ("torchmetrics",),
}


def of_value(value: Any) -> str:
    """Sixteen hexadecimal digits that depend on a JSON-like value, and not on the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def of_code(module: str) -> str:
    """Digest of a stage's code: its module and all of the package that it imports, directly or not."""
    return of_value(of_modules(module))


def of_modules(*modules: str) -> dict[str, str]:
    """The digest of each module of this package that ``python -m`` of any of ``modules`` can load.

    Read from the syntax trees without docstrings, so that a comment, a docstring or the layout of the code changes
    nothing; and without the fields of settings, whose values are told to each stage that reads them, so that another
    default of the sampler leaves a model as it is. Imports inside functions count as well.
    """
    return {name: _contents(_file(name))["digest"] for name in sorted(_closures(modules))}


def libraries(*modules: str) -> dict[str, str]:
    """The versions of the libraries that they can load, of those whose version can change a number."""
    names = {name for part in _closures(modules) for name in _contents(_file(part))["libraries"]}
    found = sorted({library for name in names for library in LIBRARIES.get(name, ())})
    return {library: _version(library) for library in found}


@cache
def _version(library: str) -> str:
    return metadata.version(library)


def closure(module: str) -> set[str]:
    """The modules of this package that ``python -m module`` can load, itself among them, as dotted names."""
    found: set[str] = set()
    waiting = [module, f"{module}.__main__"]
    while waiting:
        name = waiting.pop()
        if name in found or (file := _file(name)) is None:
            continue
        found.add(name)
        waiting += _parents(name)
        waiting += _contents(file)["imports"]
    _contents.save()
    return found


def _closures(modules: tuple[str, ...]) -> set[str]:
    return set().union(*map(closure, modules))


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _file(name: str) -> Path | None:
    """The file of a module or package, or None where the name is neither (a function imported from a module)."""
    path = PACKAGE.parent.joinpath(*name.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)


def _read(file: Path) -> dict[str, Any]:
    """Digest of a module's code, the names that it imports from this package, and the libraries that it imports."""
    tree = _bare(ast.parse(file.read_text(encoding="utf-8")))
    names = set(_imports(tree))
    own = {name for name in names if name.split(".")[0] == PACKAGE.name}
    others = {name.split(".")[0] for name in names - own} - sys.stdlib_module_names
    return {"digest": of_value(_plain(tree)), "imports": sorted(own), "libraries": sorted(others)}


def _plain(node: Any) -> Any:
    """A syntax tree as JSON-like values, the same by all versions of Python, unlike what ``ast`` itself prints.

    Without places and without what is empty, as are the parts that only some versions know of.
    """
    if isinstance(node, ast.JoinedStr):  # Python 3.12 ends the format of a value with an empty text
        node = ast.JoinedStr([part for part in node.values if getattr(part, "value", None) != ""])
    if isinstance(node, ast.AST):
        parts = {name: value for name, value in ast.iter_fields(node) if value not in (None, []) and name != "kind"}
        return [type(node).__name__, {name: _plain(value) for name, value in parts.items()}]
    return [_plain(part) for part in node] if isinstance(node, list) else repr(node)


_contents = Remembered("code", _read)


def _imports(tree: ast.Module) -> list[str]:
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # ``from package import name`` may mean a module or something inside one: both are tried.
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def _bare(tree: ast.Module) -> ast.Module:
    """Without docstrings, and without ``name: type = Field(...)`` in classes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            node.body = [part for part in node.body if not _is_field(part)]
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    return tree


def _is_field(node: ast.stmt) -> bool:
    value = node.value if isinstance(node, ast.AnnAssign) else None
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "Field"

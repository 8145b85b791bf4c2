"""Code digests: what changes them, and what does not."""

import pytest

from scansynth import config, digest

MODULES = {
    "__init__": "",
    "stage": "from scansynth import helper, sections\ndef main():\n    return helper.f()\n",
    "helper": '"""Words."""\ndef f():\n    """More."""\n'
    "    from scansynth.deep import inner\n    return inner.g()  # why\n",
    "deep/__init__": "",
    "deep/inner": "def g():\n    return 1\n",
    "sections": "class Sample(Section):\n    steps: int = Field(25, description='How many.')\n    least: int = 5\n"
    "    def twice(self):\n        return 2 * self.steps\n",
    "other": "x = 1\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    root = tmp_path / "scansynth"
    for name, text in MODULES.items():
        file = root / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.setattr(digest, "PACKAGE", root)

    def edit(name, old, new):
        file = root / f"{name}.py"
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))

    def current():
        return digest.of_code("scansynth.stage")

    return edit, current


@pytest.mark.parametrize(
    ("name", "old", "new", "changed"),
    [
        ("stage", "helper.f()", "helper.f() + 1", True),
        ("helper", "return inner.g()", "return -inner.g()", True),
        ("deep/inner", "return 1", "return 2", True),
        ("deep/__init__", "", "flag = 1\n", True),
        ("helper", "# why", "# because", False),
        ("helper", "More.", "Less.", False),
        ("helper", "Words.", "Other words.", False),
        ("deep/inner", "return 1", "return (1)\n\n", False),
        ("other", "x = 1", "x = 2", False),
        ("sections", "Field(25", "Field(12", False),
        ("sections", "How many.", "Evaluations.", False),
        ("sections", "least: int = 5", "least: int = 6", True),
        ("sections", "2 * self.steps", "3 * self.steps", True),
    ],
)
def test_edits(package, name, old, new, changed):
    edit, current = package
    before = current()
    edit(name, old, new) if old else edit(name, "", new)
    assert (current() != before) is changed


SOURCE = """
import a.b as c
@d
class E(F, metaclass=G):
    x: int | None = 1
    async def f(self, /, y, *z: str, k=2.5, **w) -> list[int]:
        if (n := len(z)) > 1 and not y: raise ValueError(f"{y!r:>{n}} of {k}" "and" rf"{w}\\d") from None
        return [*z, b"\\x00", ..., lambda q: q**-1j, {**w}, {v for v in z if v}]
match x:
    case [1, *_] | {"a": E(y=2)}: pass
"""


def test_all_versions_of_python_agree():
    assert digest.of_value(digest._plain(digest.ast.parse(SOURCE))) == "6f95cbe1f22cb577"


def test_what_changed_is_named(package):
    edit, _ = package
    before = digest.of_modules("scansynth.stage")
    edit("deep/inner", "return 1", "return 2")
    after = digest.of_modules("scansynth.stage")
    assert [name for name in after if before[name] != after[name]] == ["scansynth.deep.inner"]


def test_libraries_are_those_that_the_stage_can_load():
    assert "torch" in digest.libraries("scansynth.train")
    assert "pydicom" in digest.libraries("scansynth.prepare")
    assert "pydicom" not in digest.libraries("scansynth.train")
    assert "torch" not in digest.libraries("scansynth.prepare")


def test_every_library_that_is_imported_is_known_or_changes_no_number():
    silent = "dvc dvc_data filelock mlflow pydantic requests safetensors snakemake sqlalchemy threadpoolctl tqdm "
    silent += "urllib3 yaml"
    files = digest.PACKAGE.rglob("*.py")
    assert {name for file in files for name in digest._read(file)["libraries"]} <= {*digest.LIBRARIES, *silent.split()}


def test_every_stage_has_a_digest_of_its_own():
    stages = list(config.SECTIONS)
    assert len({digest.of_code(f"scansynth.{stage}") for stage in stages}) == len(stages)


def test_light_stages_do_not_depend_on_the_heavy_ones():
    assert "scansynth.train" not in digest.closure("scansynth.prepare")
    assert "scansynth.diffusion.solvers" not in digest.closure("scansynth.train")


def test_value_digest_ignores_the_order_of_keys():
    assert digest.of_value({"a": 1, "b": [2]}) == digest.of_value({"b": [2], "a": 1}) != digest.of_value({"a": 1})

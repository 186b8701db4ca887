"""Hashes of code, files and values, and the seeds derived from them."""

import ast
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapcsp import provenance
from mapcsp.relax.backends import NAMES
from mapcsp.settings import RelaxSettings, SymmetrySettings
from mapcsp.unused_code import (
    MODULE_OF_POTENTIAL,
    other_potentials,
    unused_by_relax,
    unused_by_symmetry,
)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package in place of mapcsp: a/one imports b/two inside a function, which imports base."""
    root = tmp_path / "mapcsp"
    files = {
        "__init__.py": "",
        "base.py": "X = 1\n",
        "settings.py": "from mapcsp.base import X\n",
        "unused.py": "Y = 2\n",
        "a/__init__.py": "",
        "a/one.py": "import os\nfrom mapcsp.settings import X\n\ndef f():\n    from mapcsp.b.two import g\n    return g\n",
        "b/__init__.py": "",
        "b/two.py": "import mapcsp.base\n\ndef g():\n    return mapcsp.base.X\n",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(provenance, "PACKAGE", root)
    provenance.code_id.cache_clear()
    provenance.imported_modules.cache_clear()
    yield root
    provenance.code_id.cache_clear()
    provenance.imported_modules.cache_clear()


def test_imports_are_followed_through_functions_and_packages(package):
    assert provenance.imported_modules("a/one") == ("a/__init__", "a/one", "b/__init__", "b/two", "base")


def test_settings_are_no_code_of_a_stage(package):
    # Else a new setting of the ranking would rerun the searches.
    assert "settings" not in provenance.imported_modules("a/one")


def test_an_entry_that_does_not_exist_is_an_error(package):
    with pytest.raises(FileNotFoundError):
        provenance.imported_modules("a/none")


def code_after(path, text: str, **without) -> str:
    """The code of the stage a/one, with some text at the end of a file."""
    with open(path, "a") as file:
        file.write(text)
    provenance.code_id.cache_clear()
    provenance.imported_modules.cache_clear()
    return provenance.code_id(*provenance.imported_modules("a/one", **without))


@pytest.mark.parametrize(
    ("edited", "changes"),
    [("b/two.py", True), ("base.py", True), ("a/one.py", True), ("unused.py", False), ("settings.py", False)],
)
def test_the_code_of_a_stage_changes_with_what_it_imports_and_with_nothing_else(package, edited, changes):
    before = provenance.code_id(*provenance.imported_modules("a/one"))
    assert (code_after(package / edited, "Z = 3\n") != before) is changes


@pytest.mark.parametrize("text", ["# a comment\n", "\n\n", '"""X is one."""\n', "\n'a' 'b'\n"])
def test_words_about_code_are_no_code(package, text):
    before = provenance.code_id(*provenance.imported_modules("a/one"))
    assert code_after(package / "base.py", text) == before


def test_a_module_that_these_settings_never_run_is_no_code_of_the_stage(package):
    unused = {"without": frozenset({"b/two"})}
    before = provenance.code_id(*provenance.imported_modules("a/one", **unused))
    assert provenance.imported_modules("a/one", **unused) == ("a/__init__", "a/one", "b/__init__")
    assert code_after(package / "b/two.py", "Z = 3\n", **unused) == before


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            'def f(x):\n    """It adds."""\n    return x + 1\n',
            "def f(x):\n    # It adds.\n    return (x+1)\n",
        ),
        ('class A:\n    """A."""\n', "class A:\n    pass\n"),
        ('class A:\n    x: int = 1\n    """One."""\n', "class A:\n    x: int = 1\n"),
        ("async def f():\n    'Wait.'\n    return 1\n", "async def f():\n    return 1\n"),
        ("x = 'a' 'b'\n", 'x = "ab"\n'),
        ("x = [\n    1_000,\n    0x10,\n]\n", "x = [1000, 16]\n"),
    ],
)
def test_the_same_code_in_other_words_and_lines_is_the_same(one, other):
    assert provenance.code_text(one.encode()) == provenance.code_text(other.encode())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1\n", "x = 2\n"),
        ("x = 1\n", "x = 1.0\n"),
        ("x = 1\n", "x = True\n"),
        ("x = 'a'\n", "x = 'b'\n"),
        ("x = 'a'\n", "x = b'a'\n"),
        ("x = 'a'\n", "'a'\n"),
        ("x = f'{a:.2f}'\n", "x = f'{a:.3f}'\n"),
        ("f(a, b)\n", "f(b, a)\n"),
        ("f(a=1)\n", "f(1)\n"),
        ("x = a - b - c\n", "x = a - (b - c)\n"),
        ("x = {**a}\n", "x = {'a': a}\n"),
        ("x = {None: a}\n", "x = {**a}\n"),
        ("def f(x): return x\n", "def f(*, x): return x\n"),
        ("def f(x, /): return x\n", "def f(x): return x\n"),
        ("def f(x: int): return x\n", "def f(x: str): return x\n"),
        ("@cache\ndef f(): pass\n", "def f(): pass\n"),
        ("import a\n", "import a as b\n"),
        ("from a import b\n", "from .a import b\n"),
        ("for x in y: pass\n", "for x in y: pass\nelse: f()\n"),
        ("x[1:]\n", "x[:1]\n"),
        ("x[1::]\n", "x[::1]\n"),
        ("def f(a, b=1): pass\n", "def f(a=1, b=1): pass\n"),
        ("return_ = None\n", "return_ = ...\n"),
        ("def f(): return\n", "def f(): return 0\n"),
        ("x = a < b < c\n", "x = a < b > c\n"),
        ("del a\n", "a\n"),
        ("x += 1\n", "x -= 1\n"),
        ("if a:\n    b()\nc()\n", "if a:\n    b()\n    c()\n"),
    ],
)
def test_other_code_is_another_text(one, other):
    assert provenance.code_text(one.encode()) != provenance.code_text(other.encode())


def test_no_two_modules_of_the_package_have_one_text_but_empty_ones():
    sources = [path.read_bytes() for path in sorted(provenance.PACKAGE.rglob("*.py"))]
    texts = [text for text in map(provenance.code_text, sources) if text != "Module(body=[])"]
    assert len(set(texts)) == len(texts) > 200


@pytest.fixture(params=["m3gnet", "chgnet", "sevennet-0", "matgl:folder", "ase:module:name"])
def potential(request) -> str:
    return request.param


def test_a_relaxation_runs_the_code_of_its_own_potential_alone(potential):
    settings = RelaxSettings(potential=potential)
    found = provenance.imported_modules("relax/relax", without=unused_by_relax(settings))
    own = MODULE_OF_POTENTIAL[potential.partition(":")[0]]
    assert {own} == {*MODULE_OF_POTENTIAL.values()} & {*found}
    # What M3GNet alone is made of.
    assert ("relax/gated_bonds" in found) == (potential == "m3gnet")
    assert {"relax/fire", "relax/guards", "relax/relaxation", "relax/backends"} <= {*found}
    assert "relax/bayesian" not in found
    bayesian = RelaxSettings(potential=potential, method="bayesian")
    assert "relax/bayesian" in provenance.imported_modules("relax/relax", without=unused_by_relax(bayesian))


def test_every_module_that_may_be_left_out_is_there():
    assert all((provenance.PACKAGE / f"{m}.py").exists() for m in other_potentials("none"))


def test_loading_a_potential_imports_the_module_that_its_name_stands_for():
    """Else an edit of a potential would keep what it has relaxed."""
    source = ast.parse((provenance.PACKAGE / "relax/backends.py").read_text())
    imported = {
        node.module.removeprefix("mapcsp.").replace(".", "/")
        for node in ast.walk(source)
        if isinstance(node, ast.ImportFrom) and node.module and node.col_offset
    }
    assert imported == {*MODULE_OF_POTENTIAL.values()}
    assert {n.partition(":")[0] for n in NAMES} == set(MODULE_OF_POTENTIAL)


def test_the_default_symmetry_runs_no_code_of_cryspnet():
    def modules(model: str) -> tuple[str, ...]:
        settings = SymmetrySettings(model=model)
        return provenance.imported_modules("symmetry/predict", without=unused_by_symmetry(settings))

    assert not any(m.startswith("cryspnet/") and m != "cryspnet/__init__" for m in modules("symmetry"))
    assert "cryspnet/predict" in modules("cryspnet")


def test_a_whole_subpackage_has_a_code_id(package):
    before = provenance.code_id("a", "base")
    (package / "a/new.py").write_text("")
    provenance.code_id.cache_clear()
    assert provenance.code_id("a", "base") != before


def test_the_code_id_does_not_depend_on_where_the_package_lies(package, tmp_path, monkeypatch):
    before = provenance.code_id("a/one")
    shutil.copytree(package, tmp_path / "elsewhere")
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "elsewhere")
    provenance.code_id.cache_clear()
    assert provenance.code_id("a/one") == before


def test_seeds_are_the_same_on_every_machine():
    assert provenance.derive_seed(1, "NaCl", 225) == 534925340


@given(st.integers(0, 2**31 - 1), st.text(max_size=20), st.integers(1, 230))
def test_a_seed_has_31_bits_and_depends_on_each_part(run_seed, formula, space_group):
    seed = provenance.derive_seed(run_seed, formula, space_group)
    assert 0 <= seed < 2**31
    assert seed != provenance.derive_seed(run_seed, formula, space_group + 1)


def test_the_hash_of_a_value_ignores_the_order_of_its_keys():
    assert provenance.value_hash({"a": 1, "b": [2]}) == provenance.value_hash({"b": [2], "a": 1})
    assert provenance.value_hash({"a": 1}) != provenance.value_hash({"a": 2})


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert (
        provenance.file_sha256(tmp_path / "f")
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_versions_name_what_decides_the_numbers():
    assert {"mapcsp", "numpy", "torch", "pymatgen", "deap", "moyopy", "snakemake"} <= set(
        provenance.versions()
    )

"""Hashes of code, files and values, and the seeds derived from them."""

import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapcsp import provenance


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


@pytest.mark.parametrize(
    ("edited", "changes"),
    [("b/two.py", True), ("base.py", True), ("a/one.py", True), ("unused.py", False), ("settings.py", False)],
)
def test_the_code_of_a_stage_changes_with_what_it_imports_and_with_nothing_else(package, edited, changes):
    before = provenance.code_id(*provenance.imported_modules("a/one"))
    with open(package / edited, "a") as file:
        file.write("# a comment\n")
    provenance.code_id.cache_clear()
    provenance.imported_modules.cache_clear()
    assert (provenance.code_id(*provenance.imported_modules("a/one")) != before) is changes


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

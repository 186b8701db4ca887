"""Feature tensors: padding, masks, files; and the table's builder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapcsp.elements import SUPPORTED_ELEMENTS, SYMBOLS, TABLE, element_features
from mapcsp.errors import StoreError, UserError
from mapcsp.features.build_table import build_element_table, fill_missing
from mapcsp.features.tensors import build_features, features_path, read_features, run_features, write_features
from mapcsp.formulas.intake import run_intake
from mapcsp.records import FormulaEntry
from mapcsp.resources import resource_path
from mapcsp.settings import FeaturesSettings
from mapcsp.store import write_tensors


def entry(amounts: tuple[tuple[str, int], ...], z_allowed: tuple[int, ...]) -> FormulaEntry:
    formula = "".join(f"{s}{n}" for s, n in amounts)
    return FormulaEntry("some-id", formula, formula, None, amounts, z_allowed, len(z_allowed) == 1)


TIO2 = entry((("Ti", 1), ("O", 2)), (1, 2, 3, 4))


def test_there_is_one_tensor_for_each_allowed_z():
    tensors = build_features(TIO2, 12)
    assert [t.z for t in tensors] == [1, 2, 3, 4]
    assert [t.values.shape for t in tensors] == [(12, 11)] * 4
    assert tensors[1].species == ("Ti", "Ti", "O", "O", "O", "O")
    assert tensors[1].mask.tolist() == [True] * 6 + [False] * 6


def test_a_cell_larger_than_the_tensor_is_refused_with_the_setting_to_raise():
    with pytest.raises(UserError, match=r"some-id: 12 atoms .* features.length = 11; raise it"):
        build_features(TIO2, 11)


@given(
    st.dictionaries(st.sampled_from(sorted(SUPPORTED_ELEMENTS)), st.integers(1, 4), min_size=1, max_size=4),
    st.integers(16, 24),
)
@settings(max_examples=60, deadline=None)
def test_rows_of_atoms_hold_their_elements_and_padding_is_zero(amounts, length):
    (tensor,) = build_features(entry(tuple(amounts.items()), (1,)), length)
    n = sum(amounts.values())
    assert tensor.mask.sum() == n == len(tensor.species)
    np.testing.assert_array_equal(tensor.values[:n], element_features(tensor.species))
    assert not tensor.values[n:].any()
    assert np.isfinite(tensor.values).all()


def test_a_file_gives_back_what_was_written(tmp_path):
    path = tmp_path / "a" / "x.safetensors"
    written = build_features(TIO2, 24)
    write_features(path, written, FeaturesSettings())
    read = read_features(path)
    assert [(t.id, t.z, t.species) for t in read] == [(t.id, t.z, t.species) for t in written]
    for a, b in zip(read, written):
        np.testing.assert_array_equal(a.values, b.values)
        np.testing.assert_array_equal(a.mask, b.mask)


def test_a_truncated_file_is_named_with_what_to_do(tmp_path):
    path = tmp_path / "x.safetensors"
    write_features(path, build_features(TIO2, 24), FeaturesSettings())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(StoreError, match=r"x\.safetensors .* snakemake again"):
        read_features(path)


def test_a_file_of_other_tensors_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"values": np.zeros((1, 2, 3))}, {"features": "{}"})
    with pytest.raises(StoreError, match="holds no features"):
        read_features(path)


def list_and_settings(folder: Path) -> None:
    (folder / "list.txt").write_text("TiO2\nNaCl\n")
    (folder / "intake.json").write_text("{}")
    (folder / "features.json").write_text('{"length": 12}')


def test_the_stage_writes_one_file_a_formula(tmp_path):
    list_and_settings(tmp_path)
    run_intake(tmp_path / "list.txt", tmp_path / "intake.json", tmp_path / "intake")
    run_features(tmp_path / "intake", tmp_path / "features.json", tmp_path / "features")
    assert len(list((tmp_path / "features").rglob("*.safetensors"))) == 2
    tensors = read_features(features_path(tmp_path / "features", "NaCl"))
    assert [t.z for t in tensors] == [1, 2, 3, 4, 5, 6]
    assert tensors[0].species == ("Na", "Cl")


def test_another_process_writes_the_same_bytes(tmp_path):
    list_and_settings(tmp_path)
    code = (
        "from pathlib import Path as P; from mapcsp.formulas.intake import run_intake; "
        "from mapcsp.features.tensors import run_features; import sys; "
        "r, o = P(sys.argv[1]), P(sys.argv[2]); "
        "run_intake(r/'list.txt', r/'intake.json', o/'intake'); "
        "run_features(o/'intake', r/'features.json', o/'features')"
    )
    found = []
    for name in ("one", "two"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path), str(tmp_path / name)], check=True)
        files = sorted(p for p in (tmp_path / name).rglob("*") if p.is_file())
        found.append({str(p.relative_to(tmp_path / name)): p.read_bytes() for p in files})
    assert len(found[0]) == 7
    assert found[0] == found[1]


def test_building_the_table_again_gives_the_shipped_bytes(tmp_path):
    pytest.importorskip("mendeleev")
    build_element_table(tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_bytes() == resource_path(TABLE).read_bytes()


def test_a_missing_value_is_the_mean_of_its_neighbours():
    neighbours = {"a": ("b",), "b": ("a", "c"), "c": ("b", "d"), "d": ("c",)}
    assert fill_missing({"a": 1.0, "b": None, "c": 3.0, "d": 9.0}, neighbours)["b"] == 2.0


def test_a_value_out_of_reach_is_filled_in_a_second_round():
    neighbours = {"a": ("b",), "b": ("a", "c"), "c": ("b",)}
    assert fill_missing({"a": 4.0, "b": None, "c": None}, neighbours) == {"a": 4.0, "b": 4.0, "c": 4.0}


def test_values_without_any_source_are_an_error():
    with pytest.raises(ValueError, match=r"no neighbour has a value for \['a', 'b'\]"):
        fill_missing({"a": None, "b": None}, {"a": ("b",), "b": ("a",)})


def test_every_element_has_eleven_finite_features():
    assert element_features(SYMBOLS).shape == (94, 11)
    assert np.isfinite(element_features(SYMBOLS)).all()

"""MLatticeABC's random forests: trees walked as scikit-learn walks them, files, and cells of the shipped forests."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapcsp.errors import StoreError
from mapcsp.mlatticeabc.forests import Forest, read_forests, write_forests
from mapcsp.mlatticeabc.predict import predict_mlatticeabc, predictors_of
from mapcsp.symmetry.cells import cell_volume_ang3, impose_crystal_system

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

# One tree with a split on predictor 2 at 1.5 (leaves 3 and 7), and one that is a leaf of 5.
TWO_TREES = Forest(
    np.array([2, 255, 255, 255], np.uint8),
    np.array([1.5, 3.0, 7.0, 5.0], np.float32),
    np.array([2, 0, 0, 0], np.uint16),
    np.array([0, 3], np.uint32),
)


def test_trees_go_left_up_to_the_threshold_and_are_averaged():
    predictors = np.array([[9, 9, 1.5], [9, 9, 1.6]], np.float32)
    assert TWO_TREES(predictors).tolist() == [4.0, 6.0]


def test_a_grown_forest_predicts_as_scikit_learn_does():
    ensemble = pytest.importorskip("sklearn.ensemble")
    from mapcsp.training.mlatticeabc.train import joined

    generator = np.random.default_rng(0)
    inputs = np.round(generator.normal(size=(200, 5)), 2).astype(np.float32)
    grown = ensemble.RandomForestRegressor(7, min_samples_split=8, random_state=1).fit(
        inputs, inputs @ [1, 2, 0, 3, 1]
    )
    forest = joined([tree.tree_ for tree in grown.estimators_])
    assert forest(inputs) == pytest.approx(grown.predict(inputs), rel=1e-6)


def test_forests_come_back_from_their_file(tmp_path):
    write_forests(tmp_path / "a.safetensors", {"cubic/a": TWO_TREES})
    write_forests(tmp_path / "b.safetensors", {"cubic/a": TWO_TREES})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    found = read_forests(tmp_path / "a.safetensors")["cubic/a"]
    predictors = np.array([[0, 0, 0], [0, 0, 2]], np.float32)
    assert found(predictors).tolist() == TWO_TREES(predictors).tolist()


def test_a_file_of_something_else_is_named(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"nothing")
    with pytest.raises(StoreError, match=r"w\.safetensors"):
        read_forests(tmp_path / "w.safetensors")


def test_the_content_is_that_of_the_conventional_cell():
    # Rock salt: 2 atoms in the primitive cell, 8 in the conventional one.
    assert predictors_of({"Na": 1, "Cl": 1}, 1, 225)[-5:].tolist() == [8, 4, 4, 4, 0]
    assert len(predictors_of({"Na": 1, "Cl": 1}, 1, 225)) == 228


def test_the_shipped_forests_know_rock_salt():
    (cell,) = predict_mlatticeabc([{"K": 1, "Cl": 1}], [1], [225])
    assert cell[0] == pytest.approx(6.3, rel=0.1)
    assert cell.tolist() == [cell[0]] * 3 + [90.0] * 3


@settings(max_examples=30)
@given(
    st.dictionaries(
        st.sampled_from(["Li", "O", "Fe", "Si", "Ce", "Au"]), st.integers(1, 4), min_size=1, max_size=4
    ),
    st.integers(1, 4),
    st.integers(1, 230),
)
def test_every_cell_is_one_of_its_crystal_system(composition, z, number):
    (cell,) = predict_mlatticeabc([composition], [z], [number])
    assert impose_crystal_system(cell, number) == pytest.approx(cell)
    assert cell_volume_ang3(cell) > 5

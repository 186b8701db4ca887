"""What predictions work out once for all elements is what `canonicalise` gives for each; several networks vote."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapcsp.resources import resource_path
from mapcsp.symmetry.cells import impose_crystal_system, impose_crystal_systems
from mapcsp.symmetry.geometry import EncodedCrystal
from mapcsp.symmetry.known_labels import _move_cells, known_class
from mapcsp.symmetry.labels import canonical_label, canonicalise, role_free_order
from mapcsp.symmetry.model import load_model
from mapcsp.symmetry.placement import named, place_geometry, place_label

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
MODEL = load_model(resource_path("models/symmetry"))
MEMORY = MODEL.memory
SYMBOLS = ("Al", "Ca", "F", "O", "S", "Zn", "Y", "Xe")


@settings(max_examples=150)
@given(st.integers(0, len(MEMORY.mode_label) - 1), st.permutations(SYMBOLS), st.floats(0.8, 1.3))
def test_a_placed_geometry_is_the_canonicalised_one(mode, symbols, stretch):
    label_index = int(MEMORY.mode_label[mode])
    anonymous = MEMORY.labels[label_index]
    elements = tuple(symbols[: len(anonymous.roles)])
    ordered = tuple(sorted(elements))
    ranks = tuple(ordered.index(e) for e in elements)
    # A cell that the network might have moved away from the known one.
    cell = MEMORY.mode_cell[mode].astype(float) * np.array([stretch, 1, 1, 1, 1, 1])
    cell = impose_crystal_system(cell, anonymous.space_group)
    placement = place_label(MEMORY, label_index, ranks)
    moved, (exchange,) = _move_cells(cell[None], np.array([anonymous.space_group]), [placement])
    free, _ = place_geometry(MEMORY, mode, ranks, exchange)

    own = anonymous.assign(elements)
    order = role_free_order(own, elements)
    in_own = np.zeros(len(order))
    in_own[order] = MEMORY.free_coords(mode)[0]
    assert named(placement.target, ordered) == canonical_label(own)
    if own == canonical_label(own):
        assert moved[0].tolist() == cell.tolist() and free.tolist() == in_own.tolist()
        return
    expected = canonicalise(EncodedCrystal(own, 1, cell, in_own))
    assert moved[0] == pytest.approx(expected.cell, abs=1e-9)
    assert free == pytest.approx(expected.free_coords, abs=1e-12)


@given(st.lists(st.integers(1, 230), min_size=1, max_size=30))
def test_crystal_systems_are_imposed_on_many_cells_as_on_each(numbers):
    cells = np.random.default_rng(len(numbers)).uniform(3, 9, (len(numbers), 6)) + [0, 0, 0, 80, 80, 80]
    together = impose_crystal_systems(cells, np.array(numbers))
    assert together == pytest.approx(
        np.array([impose_crystal_system(c, n) for c, n in zip(cells, numbers)]), rel=1e-14
    )


def test_every_source_of_a_class_puts_each_slot_into_one_role():
    known = known_class(MODEL, (1, 1, 3))
    assert (np.sort(known.source_slots, axis=1) == np.arange(3)).all()
    assert known.source_start[-1] == len(known.source_mode)
    # A candidate's sources are those its examples have.
    owner = np.repeat(np.arange(len(known.groups)), np.diff(known.source_start))
    assert (owner[known.source_of_row] == known.found.example_candidate).all()

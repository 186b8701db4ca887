"""Genes decode exactly, and every gene counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapcsp.crystals import distance_matrix
from mapcsp.ga import kernels
from mapcsp.ga.genes import GeneKind, gene_layout, impose_from_free, sound_cells
from mapcsp.ga.pairs import label_pairs
from mapcsp.ga.variation import label_move, move_label, swap_sets
from mapcsp.records import Label, LabelPrediction
from mapcsp.symmetry.cells import impose_crystal_system, lattice_from_cell
from mapcsp.symmetry.geometry import label_geometry
from mapcsp.symmetry.wyckoff import space_group

DISTANCE_TOLERANCE_ANG = 1e-9


@st.composite
def labels(draw: st.DrawFn) -> Label:
    """Labels of any space group with at most 24 atoms: special positions once, others at will."""
    number = draw(st.integers(1, 230))
    positions = [p for p in space_group(number).positions if p.multiplicity <= 12]
    orbits: list[tuple[str, str]] = []
    used: set[str] = set()
    for element in ("Fe", "O", "Na"):
        position = draw(st.sampled_from(positions or list(space_group(number).positions[:1])))
        if position.n_free == 0 and position.letter in used:
            continue
        used.add(position.letter)
        if (
            sum(space_group(number).by_letter[w].multiplicity for _, w in orbits) + position.multiplicity
            <= 24
        ):
            orbits.append((element, position.letter))
    return Label(number, tuple(sorted(orbits or [("Fe", positions[0].letter if positions else "a")])))


def predicted(label: Label, rng: np.random.Generator, spread: float = 0.1) -> LabelPrediction:
    cell = np.array([*rng.uniform(4, 9, 3), *rng.uniform(75, 110, 3)])
    return LabelPrediction(
        label, 1, -1.0, "trained", impose_crystal_system(cell, label.space_group), spread, spread
    )


@settings(deadline=None, max_examples=80)
@given(labels(), st.integers(0, 2**31 - 1))
def test_distances_equal_those_of_the_decoded_crystal(label: Label, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs, geometry = label_pairs(label), label_geometry(label)
    cells = impose_crystal_system(
        np.column_stack([rng.uniform(2, 12, (4, 3)), rng.uniform(50, 130, (4, 3))]), label.space_group
    )
    cells = cells[sound_cells(cells)]
    free = rng.random((len(cells), geometry.n_free))
    lattices = geometry.primitive_transform @ lattice_from_cell(cells)
    found, _ = kernels.pair_distances(
        lattices, free, pairs.coord_matrix, pairs.coord_offset, pairs.first, pairs.second
    )
    for k in range(len(cells)):
        expected = distance_matrix(geometry.decode(cells[k], free[k]))
        off = pairs.kind_of_pair >= 0
        assert (
            np.abs(expected[off] - found[k][pairs.kind_of_pair[off]]).max(initial=0) < DISTANCE_TOLERANCE_ANG
        )
    assert pairs.weight.sum() == geometry.n_atoms * (geometry.n_atoms - 1) / 2


@settings(deadline=None, max_examples=80)
@given(labels(), st.integers(0, 2**31 - 1))
def test_genes_decode_to_the_space_group_and_composition(label: Label, seed: int) -> None:
    rng = np.random.default_rng(seed)
    layout = gene_layout(predicted(label, rng), search_cell=True)
    genes = layout.confine(rng.uniform(layout.low, layout.high, (3, layout.n_genes)))
    cells, free = layout.decode(genes)
    geometry = label_geometry(label)
    group = space_group(label.space_group)
    crystal = geometry.decode(cells[0], free[0])
    lattice = lattice_from_cell(cells[0])
    metric = lattice @ lattice.T
    conventional = crystal.frac_coords @ geometry.primitive_transform
    for rotation, translation in zip(group.rotations, group.translations):
        # The lattice keeps its metric, and every atom lands on an atom of its element.
        assert np.allclose(rotation.T @ metric @ rotation, metric, atol=1e-8)
        moved = conventional @ rotation.T + translation
        for i, element in enumerate(crystal.species):
            same = [j for j, e in enumerate(crystal.species) if e == element]
            assert group.is_lattice_vector(moved[i] - conventional[same], 1e-6).any()
    assert crystal.species == geometry.species


@settings(deadline=None, max_examples=80)
@given(labels(), st.integers(0, 2**31 - 1))
def test_no_gene_is_dead(label: Label, seed: int) -> None:
    rng = np.random.default_rng(seed)
    layout = gene_layout(predicted(label, rng), search_cell=True)
    genes = layout.confine(rng.uniform(layout.low, layout.high, (1, layout.n_genes)))
    geometry = label_geometry(label)
    lattices, frac = geometry.decode_batch(*layout.decode(genes))
    for column in range(layout.n_genes):
        changed = genes.copy()
        gene = layout.genes[column]
        changed[0, column] += 0.01 * (1.0 if gene.kind is GeneKind.COORDINATE else gene.spread)
        new_lattices, new_frac = geometry.decode_batch(*layout.decode(changed))
        shift = np.abs(new_frac - frac).max(initial=0) + np.abs(new_lattices - lattices).max()
        assert shift > 1e-4, layout.names[column]


@settings(deadline=None, max_examples=40)
@given(labels(), st.integers(0, 2**31 - 1))
def test_encoding_inverts_decoding(label: Label, seed: int) -> None:
    rng = np.random.default_rng(seed)
    layout = gene_layout(predicted(label, rng), search_cell=True)
    genes = layout.confine(rng.uniform(layout.low, layout.high, (3, layout.n_genes)))
    assert np.allclose(layout.encode(*layout.decode(genes)), genes, atol=1e-9)


def test_gene_names_say_element_position_and_parameter() -> None:
    rng = np.random.default_rng(0)
    layout = gene_layout(predicted(Label.from_key("14:O-e,Zr-e"), rng), search_cell=True)
    assert layout.names == (
        "O-e[0].0", "O-e[0].1", "O-e[0].2", "Zr-e[1].0", "Zr-e[1].1", "Zr-e[1].2",
        "cell.a", "cell.b", "cell.c", "cell.beta",
    )  # fmt: skip


def test_a_certain_cell_has_no_genes() -> None:
    rng = np.random.default_rng(0)
    prediction = predicted(Label.from_key("136:O-f,Ti-a"), rng, spread=0.0)
    layout = gene_layout(prediction, search_cell=True)
    assert layout.names == ("O-f[0].0",)
    cells, _ = layout.decode(np.array([[0.3]]))
    assert (cells[0] == prediction.cell).all()


def test_tied_coordinates_move_together() -> None:
    geometry = label_geometry(Label.from_key("205:Fe-a,S-c"))
    assert geometry.n_free == 1
    crystal = geometry.decode(np.array([5.4, 5.4, 5.4, 90, 90, 90.0]), np.array([0.3]))
    sulphur = crystal.frac_coords[[s == "S" for s in crystal.species]]
    assert any(np.allclose(point, [0.3, 0.3, 0.3]) for point in sulphur)


def test_tied_lengths_copy_the_free_one_exactly() -> None:
    cells = impose_from_free(np.array([[3.1, 9.0, 5.0, 80, 80, 80]]), 136)
    assert cells.tolist() == [[3.1, 3.1, 5.0, 90.0, 90.0, 90.0]]


def test_a_label_move_hands_over_coordinates_and_swaps_element_roles() -> None:
    rng = np.random.default_rng(0)
    source = gene_layout(predicted(Label.from_key("62:Fe-c,S-a"), rng), search_cell=True)
    target = gene_layout(predicted(Label.from_key("62:Fe-a,S-c"), rng), search_cell=True)
    taken = label_move(source, target)
    moved = move_label(np.array([[0.1, 0.2, 1.0, 1.1, 1.2]]), taken, np.full((1, 5), np.nan))
    assert moved.tolist() == [[0.1, 0.2, 1.0, 1.1, 1.2]]


def test_only_orbits_on_the_same_position_are_swapped() -> None:
    rng = np.random.default_rng(0)
    label = Label.from_key("62:Fe-a,O-c,S-c")
    (pair,) = swap_sets(label, gene_layout(predicted(label, rng), search_cell=False))
    assert [p.tolist() for p in pair] == [[0, 1], [2, 3]]


@pytest.mark.parametrize("angles", [(150.0, 20.0, 20.0), (60.0, 60.0, 119.9)])
def test_impossible_and_flat_cells_are_not_sound(angles: tuple[float, ...]) -> None:
    assert not sound_cells(np.array([[4.0, 4.0, 4.0, *angles]]))[0]

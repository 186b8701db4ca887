"""One-pass relaxation: what turns with the crystal, what does not change, and numbers worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from known_pools import cesium_chloride_type, perovskite, rocksalt, shaken
from mapcsp.crystals import to_structure
from mapcsp.deeprelax.encoding import offset_encoding, offset_index
from mapcsp.deeprelax.ensemble import predict_ensemble
from mapcsp.deeprelax.fused import predict_fused
from mapcsp.deeprelax.graph import GraphSettings, crystal_numbers, graphs_of
from mapcsp.deeprelax.loss import LossSettings, Truth, laplace_loss, relaxation_loss, truth_of
from mapcsp.deeprelax.message import gather_rows, messages_by_tensors, pass_messages, sum_rows
from mapcsp.deeprelax.model import RelaxModel, load_model, save_model
from mapcsp.deeprelax.network import GraphTensors, NetworkConfig, PaEGNN, Relaxed
from mapcsp.deeprelax.pairs import align_pair, centred_pair, reduced_crystal, symmetric_stretch
from mapcsp.deeprelax.predict import relax_in_one_pass
from mapcsp.deeprelax.solver import (
    Constraints,
    Distances,
    SolverSettings,
    descend_by_tensors,
    solve_positions,
)
from mapcsp.errors import UserError
from mapcsp.records import Crystal
from mapcsp.symmetry.detect import find_space_group
from mapcsp.symmetry.operations import find_symmetry
from scipy.spatial.transform import Rotation

VOLUMES = np.linspace(8.0, 30.0, 95)
TOLERANCE = 2e-4
# The solver's loss has corners, where rounding decides which side a step falls on.
SOLVED = 3e-3
EXAMPLES = settings(max_examples=8, deadline=None)


def network(seed: int = 0, **switches: bool) -> PaEGNN:
    """A small untrained network whose outputs are far from zero."""
    torch.manual_seed(seed)
    made = PaEGNN(NetworkConfig(width=16, layers=2, radial=12, vector_channels=4, **switches), VOLUMES)
    with torch.no_grad():
        for last in (made.edge_head.last, made.pair_head.last, made.volume[2], made.stretch_weights):
            last.weight.normal_(std=0.2)
    return made.eval()


def model(**switches: bool) -> RelaxModel:
    return RelaxModel("test", (network(1, **switches), network(2, **switches)), GraphSettings())


def low_symmetry(seed: int) -> Crystal:
    """Five atoms in a triclinic cell, in its middle, so that small shifts wrap nothing."""
    rng = np.random.default_rng(seed)
    lattice = 4.2 * np.eye(3) + rng.normal(scale=0.3, size=(3, 3))
    frac = np.array([[0.3, 0.3, 0.3], [0.7, 0.7, 0.7], [0.7, 0.7, 0.3], [0.7, 0.3, 0.7], [0.3, 0.7, 0.7]])
    return Crystal(lattice, ("Sr", "Ti", "O", "O", "O"), frac + rng.uniform(-0.05, 0.05, (5, 3)))


@given(seed=st.integers(0, 10_000))
@EXAMPLES
def test_a_rotated_crystal_gives_the_rotated_answer(seed):
    crystal = low_symmetry(seed)
    turn = Rotation.random(random_state=seed).as_matrix()
    turned = replace(crystal, lattice_ang=crystal.lattice_ang @ turn)
    one, other = relax_in_one_pass([crystal, turned], model())
    assert np.allclose(other.crystal.lattice_ang, one.crystal.lattice_ang @ turn, atol=TOLERANCE)
    assert np.allclose(other.frac_unwrapped, one.frac_unwrapped, atol=SOLVED)
    assert other.uncertainty_ang == pytest.approx(one.uncertainty_ang, rel=1e-3)
    assert not np.allclose(one.crystal.lattice_ang, crystal.lattice_ang, atol=0.05)


@given(seed=st.integers(0, 10_000))
@EXAMPLES
def test_a_shifted_crystal_gives_the_shifted_answer(seed):
    crystal = low_symmetry(seed)
    shift = np.random.default_rng(seed).uniform(-0.15, 0.15, 3)
    shifted = replace(crystal, frac_coords=crystal.frac_coords + shift)
    one, other = relax_in_one_pass([crystal, shifted], model())
    assert np.allclose(other.crystal.lattice_ang, one.crystal.lattice_ang, atol=TOLERANCE)
    assert np.allclose(other.frac_unwrapped - shift, one.frac_unwrapped, atol=SOLVED)


@given(seed=st.integers(0, 10_000))
@EXAMPLES
def test_the_order_of_atoms_does_not_matter(seed):
    crystal = low_symmetry(seed)
    order = np.random.default_rng(seed).permutation(5)
    mixed = Crystal(crystal.lattice_ang, tuple(crystal.species[i] for i in order), crystal.frac_coords[order])
    one, other = relax_in_one_pass([crystal, mixed], model())
    assert np.allclose(other.crystal.lattice_ang, one.crystal.lattice_ang, atol=TOLERANCE)
    assert np.allclose(other.frac_unwrapped, one.frac_unwrapped[order], atol=SOLVED)


@given(seed=st.integers(0, 10_000), factor=st.floats(0.7, 1.4))
@EXAMPLES
def test_the_volume_of_the_input_does_not_matter(seed, factor):
    crystal = low_symmetry(seed)
    larger = replace(crystal, lattice_ang=crystal.lattice_ang * factor)
    one, other = relax_in_one_pass([crystal, larger], model())
    assert np.allclose(other.crystal.lattice_ang, one.crystal.lattice_ang, atol=TOLERANCE)
    assert np.allclose(other.frac_unwrapped, one.frac_unwrapped, atol=SOLVED)


def doubled(crystal: Crystal) -> Crystal:
    """Two cells side by side along the first axis."""
    lattice = crystal.lattice_ang * np.array([[2.0], [1.0], [1.0]])
    frac = np.vstack([crystal.frac_coords, crystal.frac_coords + [1, 0, 0]]) / [2, 1, 1]
    return Crystal(lattice, crystal.species * 2, frac)


@given(seed=st.integers(0, 10_000), shift=st.tuples(*[st.floats(0, 1)] * 3))
@EXAMPLES
def test_without_cell_offsets_neither_supercell_nor_origin_changes_the_stretch_or_the_distances(seed, shift):
    crystal = low_symmetry(seed)
    moved = replace(crystal, frac_coords=np.mod(crystal.frac_coords + shift, 1.0))
    plain = network(periodic=False)
    found = [
        (graph, plain(graph))
        for graph in (
            GraphTensors.of(graphs_of([c], GraphSettings())) for c in (crystal, doubled(crystal), moved)
        )
    ]
    stretches = [torch.linalg.solve(g.lattice_ang, p.lattice_ang) for g, p in found]
    assert torch.allclose(stretches[0], stretches[1], atol=TOLERANCE)
    assert torch.allclose(stretches[0], stretches[2], atol=TOLERANCE)
    edges = [p.edge_ang.sort().values for _, p in found]
    assert torch.allclose(edges[1][::2], edges[0], atol=TOLERANCE)
    assert torch.allclose(edges[2], edges[0], atol=TOLERANCE)


def test_the_stretch_keeps_a_cubic_crystal_cubic_and_is_symmetric():
    plain = network(periodic=False)
    graph = GraphTensors.of(graphs_of([perovskite(), low_symmetry(3)], GraphSettings()))
    with torch.no_grad():
        stretch = torch.linalg.solve(graph.lattice_ang, plain(graph).lattice_ang)
    assert torch.allclose(stretch[0], stretch[0, 0, 0] * torch.eye(3), atol=TOLERANCE)
    assert torch.allclose(stretch[1], stretch[1].T, atol=TOLERANCE)
    assert (stretch[1] - stretch[1].diagonal().mean() * torch.eye(3)).abs().max() > 0.01


@pytest.mark.parametrize("crystal", [perovskite(), rocksalt(), cesium_chloride_type()])
def test_a_crystal_keeps_its_symmetry(crystal):
    (found,) = relax_in_one_pass([crystal], model())
    assert find_space_group(found.crystal, 1e-4) == find_space_group(crystal, 1e-4)
    step = found.frac_unwrapped - crystal.frac_coords
    # Every atom of these is on a special position.
    assert np.abs(step - step.mean(0)).max() < 1e-6
    assert abs(found.crystal.volume_ang3 / crystal.volume_ang3 - 1) > 0.01


@pytest.mark.parametrize("crystal", [perovskite(), rocksalt(), cesium_chloride_type()])
def test_every_operation_found_carries_atoms_onto_atoms_of_their_element(crystal):
    numbers = crystal_numbers(crystal)
    moved = np.mod(crystal.frac_coords + [0.13, 0.37, 0.9], 1.0)
    found = find_symmetry(crystal.lattice_ang, moved, numbers, 0.01)
    assert len(found.rotations) == 48
    carried = np.einsum("gij,gnj->gni", found.rotations, moved[found.sources])
    assert np.allclose(carried + found.translations[:, None] + found.shifts, moved, atol=1e-9)
    assert (numbers[found.sources] == numbers).all()
    assert (np.sort(found.sources, axis=1) == np.arange(len(numbers))).all()


def test_batches_do_not_change_answers():
    crystals = [low_symmetry(k) for k in range(5)] + [rocksalt()]
    together = relax_in_one_pass(crystals, model())
    for crystal, found in zip(crystals, together):
        (alone,) = relax_in_one_pass([crystal], model(), batch_atoms=1)
        assert np.allclose(alone.crystal.lattice_ang, found.crystal.lattice_ang, atol=TOLERANCE)
        assert np.allclose(alone.frac_unwrapped, found.frac_unwrapped, atol=SOLVED)


def test_edges_are_those_that_pymatgen_finds_shell_by_shell():
    crystal = rocksalt()
    graph = graphs_of([crystal], GraphSettings(cutoff_ang=6.0, neighbours=20))
    lengths = np.linalg.norm(graph.edge_ang, axis=1)
    for atom in range(2):
        own = np.sort(lengths[graph.centre == atom])
        everything = np.sort(
            [n.nn_distance for n in to_structure(crystal).get_neighbors(to_structure(crystal)[atom], 6.0)]
        )
        # 6 at a/2 and 12 at a/√2; the next shell of 8 would exceed 20.
        assert len(own) == 18
        assert np.allclose(own, everything[:18], atol=1e-6)
    frac = graph.frac[graph.neighbour] + graph.offset - graph.frac[graph.centre]
    assert np.allclose(frac @ crystal.lattice_ang, graph.edge_ang, atol=1e-9)


def test_a_first_shell_larger_than_asked_for_is_kept_whole():
    graph = graphs_of([cesium_chloride_type()], GraphSettings(neighbours=4))
    assert np.bincount(graph.centre).tolist() == [8, 8]


def test_cell_offsets_are_indexed_and_encoded_as_in_the_paper():
    offsets = torch.tensor([[-2, -2, -2], [0, 0, 0], [1, -1, 2], [2, 2, 2], [3, 0, 0]])
    assert offset_index(offsets).tolist() == [0, 62, 3 + 5 + 100, 124, 64]
    table = offset_encoding(8)
    assert table[108, 4].item() == pytest.approx(math.sin(108 / 10000 ** (4 / 8)), abs=1e-6)
    assert table[108, 5].item() == pytest.approx(math.cos(108 / 10000 ** (4 / 8)), abs=1e-6)


def test_compiled_messages_and_their_gradients_are_those_of_tensors():
    torch.manual_seed(3)
    graph = GraphTensors.of(graphs_of([low_symmetry(1), rocksalt()], GraphSettings()))
    n, e, width = len(graph.numbers), len(graph.centre), 5
    inputs = [torch.randn(n, 3 * width), torch.randn(n, 3, width), torch.randn(e, 3 * width)]
    units = torch.nn.functional.normalize(graph.edge_ang)
    results = []
    for compiled in (True, False):
        leaves = [x.clone().requires_grad_() for x in inputs]
        if compiled:
            out = pass_messages(*leaves, units, graph.centre, graph.neighbour, graph.first_edge)
        else:
            out = messages_by_tensors(*leaves, units, graph.centre, graph.neighbour)
        (out[0].sin().sum() + out[1].cos().sum()).backward()
        results.append([*out, *(x.grad for x in leaves)])
    for one, other in zip(*results):
        assert torch.allclose(one, other, atol=1e-4)


def test_compiled_gathering_and_summing_have_the_gradients_of_indexing():
    index = torch.tensor([2, 0, 2, 1])
    values = torch.randn(3, 4, requires_grad=True)
    rows = torch.randn(4, 4, requires_grad=True)
    weight = torch.randn(4, 4)
    assert torch.equal(gather_rows(values, index), values[index])
    (gathered,) = torch.autograd.grad((gather_rows(values, index) * weight).sum(), values)
    (expected,) = torch.autograd.grad((values[index] * weight).sum(), values)
    assert torch.allclose(gathered, expected)
    summed = torch.zeros(3, 4).index_add(0, index, rows)
    assert torch.allclose(sum_rows(rows, index, 3), summed)
    (gradient,) = torch.autograd.grad((sum_rows(rows, index, 3) * weight[:3]).sum(), rows)
    assert torch.equal(gradient, weight[:3][index])


def test_the_laplace_loss_is_the_one_worked_out_by_hand():
    predicted, true = torch.tensor([2.0, 3.0]), torch.tensor([2.5, 3.0])
    log_scale = torch.tensor([math.log(0.5), math.log(0.1)])
    # ln(2 · .5) + .5 / .5 = 1 and ln(2 · .1) + 0 = -1.6094, mean -.3047
    assert laplace_loss(predicted, true, log_scale).item() == pytest.approx(
        (1.0 + math.log(0.2)) / 2, abs=1e-6
    )


def test_the_whole_loss_adds_its_parts_with_their_weights():
    one = torch.ones(1)
    predicted = Relaxed(torch.eye(3)[None] * 2, 2 * one, 0 * one, 3 * one, 0 * one, torch.full((1, 3), 0.5))
    truth = Truth(torch.eye(3)[None], one, one, torch.zeros(1, 3))
    weights = LossSettings(lattice=3.0, step=2.0, distance=4.0)
    vectors = 3.0 * 3 / 9 + 2.0 * 0.5
    uncertain = relaxation_loss(predicted, truth, NetworkConfig(), weights)
    assert uncertain.item() == pytest.approx(vectors + 2 * math.log(2) + 1 + 2, abs=1e-5)
    plain = relaxation_loss(predicted, truth, NetworkConfig(uncertain=False), weights)
    assert plain.item() == pytest.approx(vectors + 4.0 * 3, abs=1e-5)
    direct = relaxation_loss(predicted, truth, NetworkConfig(direct=True), weights)
    assert direct.item() == pytest.approx(vectors, abs=1e-5)


def moved_pair(seed: int, amount: float = 0.04):
    """An unrelaxed crystal, and a graph with the truth of one whose atoms and cell differ."""
    rng = np.random.default_rng(seed)
    initial = low_symmetry(seed)
    frac = initial.frac_coords + rng.normal(scale=amount, size=(5, 3))
    frac += (initial.frac_coords - frac).mean(0)
    lattice = initial.lattice_ang @ (np.eye(3) * 1.03)
    graph = GraphTensors.of(graphs_of([initial], GraphSettings()))
    return graph, torch.tensor(lattice[None], dtype=torch.float32), frac


@given(seed=st.integers(0, 1000))
@EXAMPLES
def test_the_solver_recovers_a_crystal_from_its_true_distances(seed):
    graph, lattice, frac = moved_pair(seed)
    truth = truth_of(graph, lattice, torch.tensor(frac, dtype=torch.float32))
    none = torch.zeros_like
    exact = Distances(truth.edge_ang, none(truth.edge_ang), truth.pair_ang, none(truth.pair_ang))
    found = solve_positions(graph, lattice, exact, graph.frac, SolverSettings(steps=150)).numpy()
    before = np.abs((graph.frac.numpy() - frac) @ lattice[0].numpy()).mean()
    after = np.abs((found - frac) @ lattice[0].numpy()).mean()
    assert after < 0.003 < before


def test_the_solver_leaves_alone_what_lies_within_its_bounds():
    graph, lattice, frac = moved_pair(2)
    truth = truth_of(graph, lattice, torch.tensor(frac, dtype=torch.float32))
    wide = Distances(
        truth.edge_ang, torch.full_like(truth.edge_ang, 5), truth.pair_ang, torch.full_like(truth.pair_ang, 5)
    )
    found = solve_positions(graph, lattice, wide, graph.frac, SolverSettings())
    assert np.allclose(found.numpy(), graph.frac.numpy(), atol=1e-6)


def test_the_solver_s_gradients_are_those_of_its_loss():
    graph, lattice, frac = moved_pair(4)
    truth = truth_of(graph, lattice, torch.tensor(frac, dtype=torch.float32))
    scale = torch.full_like(truth.edge_ang, 0.02), torch.full_like(truth.pair_ang, 0.02)
    cell = lattice[graph.crystal].double()
    start = (graph.frac.double()[:, None] @ cell)[:, 0]
    shift = (graph.offset.double()[:, None] @ cell[graph.centre])[:, 0]
    distances = Distances(truth.edge_ang, scale[0], truth.pair_ang, scale[1])
    bounds = Constraints.of(graph, shift, distances, 1.0)
    position = (
        start + 0.01 * torch.randn(start.shape, generator=torch.Generator().manual_seed(0))
    ).requires_grad_()
    (expected,) = torch.autograd.grad(bounds.loss(position, start), position)
    assert expected.abs().max() > 0.1
    assert torch.allclose(bounds.gradient_by_tensors(position.detach(), start), expected, atol=1e-6)


def test_the_compiled_descent_is_that_of_tensors_crystal_by_crystal():
    crystals = [low_symmetry(k) for k in range(3)]
    graph = GraphTensors.of(graphs_of([rocksalt(), *crystals], GraphSettings()))
    noise = torch.Generator().manual_seed(1)
    lengths = graph.edge_ang.norm(dim=1), graph.pair_ang().norm(dim=1)
    wanted = [x + 0.1 * torch.randn(x.shape, generator=noise) for x in lengths]
    scales = [torch.full_like(x, 0.02) for x in lengths]
    distances = Distances(wanted[0], scales[0], wanted[1], scales[1])
    # Few steps: later ones meet corners of the loss, where rounding decides.
    settings = SolverSettings(steps=5)
    found = solve_positions(graph, graph.lattice_ang, distances, graph.frac.double(), settings)
    cell = graph.lattice_ang[graph.crystal].double()
    start = (graph.frac[:, None] @ cell.float())[:, 0].double()
    shift = (graph.offset.float()[:, None] @ cell[graph.centre].float())[:, 0].double()
    bounds = Constraints.of(graph, shift, distances, settings.bound)
    moved = descend_by_tensors(bounds, graph.crystal, start, start, settings) - start
    for own in (graph.crystal == b for b in range(4)):
        moved[own] -= moved[own].mean(0)
    ours = ((found - graph.frac.double())[:, None] @ cell)[:, 0]
    assert ours.abs().max() > 0.05
    assert torch.allclose(ours, moved, atol=1e-6)


@pytest.mark.parametrize("switches", [{}, {"periodic": False, "uncertain": False}])
@pytest.mark.parametrize("radial", [8, 12, 30])
def test_the_compiled_network_gives_the_answers_of_the_tensors(radial, switches):
    torch.manual_seed(radial)
    config = NetworkConfig(width=16, layers=2, radial=radial, vector_channels=4, **switches)
    members = [PaEGNN(config, VOLUMES).eval() for _ in range(2)]
    graph = GraphTensors.of(graphs_of([low_symmetry(1), rocksalt(), perovskite()], GraphSettings()))
    with torch.no_grad():
        for last in (head.last for member in members for head in (member.edge_head, member.pair_head)):
            last.weight.normal_(std=0.2)
        answers = [member(graph) for member in members]
    for expected, found in zip(answers, predict_fused(members, graph)):
        for name in ("lattice_ang", "edge_ang", "edge_log_scale", "pair_ang", "pair_log_scale", "step_ang"):
            assert torch.allclose(getattr(found, name), getattr(expected, name), atol=2e-5), name
        assert (expected.edge_ang - graph.edge_ang.norm(dim=1)).abs().max() > 0.1


def test_uncertainty_is_the_square_of_the_mean_scale_plus_the_mean_variance():
    graph = GraphTensors.of(graphs_of([low_symmetry(1), rocksalt()], GraphSettings()))
    members = model().members
    found = predict_ensemble(members, graph)
    with torch.no_grad():
        one, other = (m(graph) for m in members)
    own = graph.crystal[graph.centre] == 1, graph.crystal[graph.pair_centre] == 1
    scales, variances = [], []
    for mask, distance, log_scale in (
        (own[0], "edge_ang", "edge_log_scale"),
        (own[1], "pair_ang", "pair_log_scale"),
    ):
        a, b = getattr(one, distance)[mask].double(), getattr(other, distance)[mask].double()
        scales.append((getattr(one, log_scale)[mask].exp() + getattr(other, log_scale)[mask].exp()) / 2)
        variances.append(((a - b) / 2).square())
    assert found.aleatoric_ang2[1].item() == pytest.approx(torch.cat(scales).mean().item() ** 2, rel=1e-4)
    assert found.epistemic_ang2[1].item() == pytest.approx(torch.cat(variances).mean().item(), rel=1e-3)


def test_a_saved_ensemble_gives_the_same_answers_and_a_damaged_file_says_so(tmp_path):
    made = model()
    save_model(tmp_path / "w.safetensors", made)
    again = load_model(tmp_path / "w.safetensors", "test")
    (one,), (other,) = (relax_in_one_pass([low_symmetry(1)], m) for m in (made, again))
    assert np.array_equal(one.crystal.lattice_ang, other.crystal.lattice_ang)
    assert np.array_equal(one.frac_unwrapped, other.frac_unwrapped)
    wide = RelaxModel("x", (PaEGNN(NetworkConfig(width=8), VOLUMES),), GraphSettings())
    save_model(tmp_path / "other.safetensors", wide)
    from mapcsp.store import read_tensors, write_tensors

    tensors, metadata = read_tensors(tmp_path / "other.safetensors")
    tensors.pop("0/embedding.weight")
    write_tensors(tmp_path / "other.safetensors", tensors, metadata)
    with pytest.raises(UserError, match="other.safetensors holds no DeepRelax network"):
        load_model(tmp_path / "other.safetensors", "x")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_crystal_in_another_cell_order_and_origin_is_laid_onto_itself(seed):
    crystal = perovskite()
    other = shaken(crystal, 0.03, seed)
    pair = align_pair("p", "SrTiO3", reduced_crystal(crystal), reduced_crystal(other))
    step = (pair.frac_coords - pair.initial.frac_coords) @ pair.lattice_ang
    # Shaken by 0.03 Å a component, and without the mean.
    assert np.abs(step).max() < 0.15
    assert np.allclose(step.mean(0), 0, atol=1e-6)
    assert np.allclose(pair.lattice_ang, pair.initial.lattice_ang, atol=1e-6)
    assert pair.initial.species == crystal.species


def test_other_prototypes_are_no_pair():
    assert (
        align_pair("p", "NaCl", reduced_crystal(rocksalt()), reduced_crystal(cesium_chloride_type())) is None
    )


def test_the_relaxed_lattice_is_turned_until_the_stretch_is_symmetric():
    rng = np.random.default_rng(1)
    lattice = 4 * np.eye(3) + rng.normal(scale=0.3, size=(3, 3))
    stretch = np.eye(3) + 0.05 * np.array([[1, 0.3, 0], [0.3, -1, 0.2], [0, 0.2, 0.5]])
    turned = lattice @ stretch @ Rotation.random(random_state=2).as_matrix()
    assert np.allclose(symmetric_stretch(lattice, turned), lattice @ stretch, atol=1e-9)


def test_atoms_that_cross_the_cell_s_boundary_are_taken_next_to_where_they_were():
    lattice = 4.0 * np.eye(3)
    start = Crystal(lattice, ("Na", "Cl"), np.array([[0.02, 0.5, 0.5], [0.5, 0.5, 0.5]]))
    end = Crystal(lattice, ("Na", "Cl"), np.array([[0.98, 0.5, 0.5], [0.5, 0.5, 0.5]]))
    pair = centred_pair("p", "NaCl", start, end)
    assert np.allclose(pair.frac_coords[:, 0], [0.02 - 0.02, 0.5 + 0.02])

"""Relaxation: neighbours, guards, symmetry, FIRE on a pair potential, and the stage on real candidates."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_pools import cesium_chloride_type, perovskite, rocksalt
from mapcsp.crystals import distance_matrix, from_structure, to_structure
from mapcsp.errors import UserError
from mapcsp.records import Candidate, CandidatePool, Crystal, FitnessTerms, Label, RelaxedPool
from mapcsp.relax.fetch import default_weights_path
from mapcsp.relax.fragments import find_fragments
from mapcsp.relax.guards import EndVerdict, check_end, check_start, nearest_contacts
from mapcsp.relax.m3gnet import M3GNet
from mapcsp.relax.neighbours import find_neighbours
from mapcsp.relax.potential import (
    AtomBatch,
    BatchEvaluation,
    Potential,
    batch_crystals,
    evaluate_tolerantly,
)
from mapcsp.relax.relax import relax_pools, run_relax
from mapcsp.relax.relaxation import relax_crystals
from mapcsp.settings import RelaxSettings
from mapcsp.store import read_records, write_json, write_records
from mapcsp.symmetry.operations import find_symmetry
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

DEPTH_EV, DISTANCE_ANG, CUTOFF_ANG = 0.2, 2.5, 6.0
SETTINGS = RelaxSettings()
needs_weights = pytest.mark.skipif(
    not default_weights_path().exists(), reason="the M3GNet weights are not fetched"
)


def morse(distance_ang):
    decay = np.exp(-1.6 * (distance_ang - DISTANCE_ANG))
    return DEPTH_EV * (decay**2 - 2 * decay), -3.2 * DEPTH_EV * (decay**2 - decay)


class Morse:
    """A pair potential whose minimum is known: a Morse potential, cut, every pair alike."""

    name = "morse"
    content_hash = "0" * 64
    elements = frozenset(["Cu", "Au", "Na", "Cl"])
    needs_mp2020 = False
    cutoff_ang = CUTOFF_ANG

    def evaluate_batch(self, batch: AtomBatch) -> BatchEvaluation:
        pairs = find_neighbours(batch, CUTOFF_ANG)
        distance = np.linalg.norm(pairs.vectors_ang, axis=1)
        energy, slope = morse(distance)
        energy_at_end, slope_at_end = morse(CUTOFF_ANG)
        # Energy and force are shifted to end at zero, so that the surface is smooth.
        energy = 0.5 * (energy - energy_at_end - (distance - CUTOFF_ANG) * slope_at_end)
        slope = 0.5 * (slope - slope_at_end)
        along = slope[:, None] * pairs.vectors_ang / distance[:, None]
        forces = np.zeros_like(batch.positions_ang)
        np.add.at(forces, pairs.centres, along)
        np.add.at(forces, pairs.neighbours, -along)
        owner = np.repeat(np.arange(len(batch.counts)), batch.counts)[pairs.centres]
        virial = np.zeros((len(batch.counts), 3, 3))
        np.add.at(virial, owner, pairs.vectors_ang[:, :, None] * along[:, None])
        volumes = np.abs(np.linalg.det(batch.lattices_ang))
        total = np.bincount(owner, energy, minlength=len(batch.counts))
        return BatchEvaluation(total, forces, virial / volumes[:, None, None] * 160.21766208)


class Breaking(Morse):
    """Fails on gold as numerical code does: raises for the whole batch."""

    def evaluate_batch(self, batch):
        if (batch.numbers == 79).any():
            raise RuntimeError("matrix is singular")
        return super().evaluate_batch(batch)


class Wrong(Morse):
    """Gives NaN for chlorine."""

    def evaluate_batch(self, batch):
        found = super().evaluate_batch(batch)
        bad = np.add.reduceat(batch.numbers == 17, batch.starts) > 0
        return replace(found, energy_ev=np.where(bad, np.nan, found.energy_ev))


def crystal_of(lattice, species, frac) -> Crystal:
    return Crystal(np.array(lattice, dtype=float), tuple(species), np.array(frac, dtype=float))


def copper(a_ang: float = 3.5) -> Crystal:
    return from_structure(Structure.from_spacegroup("Fm-3m", Lattice.cubic(a_ang), ["Cu"], [[0, 0, 0]]))


def shaken(crystal: Crystal, seed: int, displacement_ang: float = 0.1, strain: float = 0.03) -> Crystal:
    rng = np.random.default_rng(seed)
    tensor = rng.normal(size=(3, 3))
    tensor = np.eye(3) + strain * (tensor + tensor.T) / np.abs(tensor + tensor.T).max()
    lattice = crystal.lattice_ang @ tensor
    shift = rng.normal(size=(crystal.n_atoms, 3))
    shift *= displacement_ang / np.linalg.norm(shift, axis=1, keepdims=True)
    return Crystal(lattice, crystal.species, np.mod(crystal.frac_coords + shift @ np.linalg.inv(lattice), 1))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(0, 3))
def test_neighbours_are_those_that_pymatgen_finds(seed, n_atoms, skew):
    rng = np.random.default_rng(seed)
    lattice = 3.5 * np.eye(3) + rng.normal(scale=0.8, size=(3, 3))
    lattice[0] += skew * lattice[1]
    frac = rng.normal(size=(n_atoms, 3))
    batch = AtomBatch(lattice[None], frac @ lattice, np.full(n_atoms, 6), np.array([n_atoms]))
    found = find_neighbours(batch, 4.0)
    structure = Structure(Lattice(lattice), ["C"] * n_atoms, frac)
    centres, neighbours, _, distances = structure.get_neighbor_list(4.0, exclude_self=True)
    assert len(found.centres) == len(centres)
    assert (np.bincount(found.centres, minlength=n_atoms) == np.bincount(centres, minlength=n_atoms)).all()
    assert np.allclose(np.sort(np.linalg.norm(found.vectors_ang, axis=1)), np.sort(distances))
    assert (np.diff(found.centres) >= 0).all()


def test_neighbours_of_a_batch_are_those_of_its_structures():
    crystals = [copper(), rocksalt(), perovskite()]
    together = find_neighbours(batch_crystals(crystals), 5.0)
    apart = [find_neighbours(batch_crystals([c]), 5.0) for c in crystals]
    assert together.structure_edges.tolist() == [len(a.centres) for a in apart]
    assert np.allclose(together.vectors_ang, np.concatenate([a.vectors_ang for a in apart]))
    assert together.centres[-1] == sum(c.n_atoms for c in crystals) - 1


def test_a_shaken_crystal_relaxes_to_the_minimum_of_its_potential():
    potential = Morse()
    tight = RelaxSettings(fmax_ev_per_ang=0.001, smax_gpa=0.01)
    ends = relax_crystals([shaken(copper(), s) for s in range(4)], tight, potential)
    exact = relax_crystals([copper()], tight, potential)[0]
    for end in ends:
        assert end.status == "converged"
        assert end.energy_ev_per_atom == pytest.approx(exact.energy_ev_per_atom, abs=5e-4)
        assert end.crystal.volume_ang3 == pytest.approx(exact.crystal.volume_ang3, rel=5e-3)
        assert end.max_force_ev_per_ang <= 0.001
        assert end.max_stress_gpa <= 0.01
        assert end.energy_ev_per_atom < end.initial_energy_ev_per_atom
        assert end.reason == ""


def test_fire_agrees_with_ase_from_the_same_start():
    pytest.importorskip("ase")
    from ase import Atoms
    from ase.calculators.emt import EMT
    from ase.filters import UnitCellFilter
    from ase.optimize import FIRE
    from mapcsp.relax.backends import load_potential

    start = shaken(copper(3.7), 3)
    atoms = Atoms(
        "Cu4", cell=start.lattice_ang, scaled_positions=start.frac_coords, pbc=True, calculator=EMT()
    )
    FIRE(UnitCellFilter(atoms), logfile=None).run(fmax=0.001, steps=400)
    emt = load_potential("ase:ase.calculators.emt:EMT", "cpu")
    end = relax_crystals([start], RelaxSettings(fmax_ev_per_ang=0.002, smax_gpa=0.02), emt)[0]
    assert end.energy_ev_per_atom == pytest.approx(atoms.get_potential_energy() / 4, abs=1e-4)
    assert end.crystal.volume_ang3 == pytest.approx(atoms.get_volume(), rel=2e-3)


def test_the_batch_size_does_not_change_what_comes_out():
    starts = [shaken(c, s) for s in range(3) for c in (copper(), rocksalt(3.6), cesium_chloride_type(2.9))]
    small = relax_crystals(starts, RelaxSettings(batch_atoms=1), Morse())
    large = relax_crystals(starts, RelaxSettings(batch_atoms=10_000), Morse())
    assert [r.n_steps for r in small] == [r.n_steps for r in large]
    for one, other in zip(small, large):
        assert np.allclose(one.crystal.lattice_ang, other.crystal.lattice_ang, atol=1e-8)
        assert one.crystal.species == other.crystal.species


def test_the_same_cell_comes_back_however_skewed_it_was_given():
    shear = np.array([[1, 4, -3], [0, 1, 5], [0, 0, 1]])
    start = shaken(copper(), 1)
    skewed = Crystal(
        shear @ start.lattice_ang, start.species, np.mod(start.frac_coords @ np.linalg.inv(shear), 1)
    )
    plain, other = relax_crystals([start, skewed], SETTINGS, Morse())
    assert np.allclose(shear @ plain.crystal.lattice_ang, other.crystal.lattice_ang, atol=1e-6)
    assert np.allclose(distance_matrix(plain.crystal), distance_matrix(other.crystal), atol=1e-6)


def test_progress_counts_every_crystal_once():
    counted = []
    relax_crystals(
        [copper(), crystal_of(np.zeros((3, 3)), ["Cu"], [[0, 0, 0]])], SETTINGS, Morse(), counted.append
    )
    assert counted == [1, 1]


def test_what_does_not_converge_says_so_and_keeps_its_last_crystal():
    end = relax_crystals([shaken(copper(), 2)], RelaxSettings(max_steps=3), Morse())[0]
    assert end.status == "unconverged"
    assert end.reason == "not converged after 3 steps"
    assert end.n_steps == 3
    assert end.crystal is not None


def test_no_steps_is_a_single_point():
    end = relax_crystals([copper(3.6)], RelaxSettings(max_steps=0), Morse())[0]
    assert end.energy_ev_per_atom == end.initial_energy_ev_per_atom
    assert end.volume_change == pytest.approx(0, abs=1e-12)


def test_a_volume_that_changes_too_much_is_dropped():
    swollen = Crystal(copper().lattice_ang * 1.25, copper().species, copper().frac_coords)
    end = relax_crystals([swollen], RelaxSettings(max_volume_change=0.2), Morse())[0]
    assert end.status == "dropped"
    assert end.crystal is None
    assert "volume" in end.reason


def test_a_crystal_on_which_the_potential_fails_does_not_take_the_others_down():
    gold = Crystal(copper().lattice_ang * 1.05, ("Au",) * 4, copper().frac_coords)
    ends = relax_crystals([shaken(copper(), 1), gold, shaken(copper(), 2)], SETTINGS, Breaking())
    assert [e.status for e in ends] == ["converged", "dropped", "converged"]
    assert ends[1].reason == "the potential failed: RuntimeError: matrix is singular"
    assert ends[1].energy_ev_per_atom is None


def test_nan_from_a_potential_ends_as_a_reason():
    ends = relax_crystals([rocksalt(3.6), shaken(copper(), 2)], SETTINGS, Wrong())
    assert [e.status for e in ends] == ["dropped", "converged"]
    assert ends[0].reason == "energy, force or stress is not finite"
    assert ends[0].initial_energy_ev_per_atom is None


def test_evaluating_tolerantly_names_the_structure_that_failed():
    gold = Crystal(copper().lattice_ang, ("Au",) * 4, copper().frac_coords)
    found, faults = evaluate_tolerantly(Breaking(), batch_crystals([copper(), gold]))
    assert list(faults) == [1]
    assert np.isfinite(found.energy_ev[0])
    assert np.isnan(found.energy_ev[1])


@pytest.mark.parametrize(
    ("crystal", "reason"),
    [
        (crystal_of(np.eye(3) * np.nan, ["Cu"], [[0, 0, 0]]), "not finite"),
        (crystal_of(np.eye(3) * 4, ["Cu"], [[np.inf, 0, 0]]), "not finite"),
        (crystal_of(np.zeros((3, 3)), ["Cu"], [[0, 0, 0]]), "0 Å³ an atom"),
        (crystal_of(np.diag([4, 4, 1e-9]), ["Cu"], [[0, 0, 0]]), "flat, tiny or huge"),
        (crystal_of(np.eye(3) * 60, ["Cu"], [[0, 0, 0]]), "flat, tiny or huge"),
        (crystal_of(np.eye(3) * 1e200, ["Cu"], [[0, 0, 0]]), "absurdly large"),
        (crystal_of(np.diag([20, 20, 0.3]), ["Cu"], [[0, 0, 0]]), "its own image"),
        (crystal_of(np.eye(3) * 4, [], np.zeros((0, 3))), "not a crystal"),
        (crystal_of(np.eye(3) * 4, ["Cu", "Cu"], [[0, 0, 0]]), "not a crystal"),
        (crystal_of(np.eye(3) * 4, ["Ra"], [[0, 0, 0]]), "morse was not trained on Ra"),
    ],
)
def test_what_cannot_be_relaxed_is_rejected_with_the_reason(crystal, reason):
    verdict = check_start(crystal, Morse())
    assert verdict.crystal is None
    assert reason in verdict.reason
    end = relax_crystals([crystal], SETTINGS, Morse())[0]
    assert (end.status, end.crystal) == ("dropped", None)


def test_a_good_crystal_is_passed_on_untouched():
    verdict = check_start(perovskite(), M3GNet()) if default_weights_path().exists() else None
    if verdict is not None:
        assert verdict.reason == ""
        assert (verdict.crystal.frac_coords == perovskite().frac_coords).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 5), st.booleans())
def test_clashing_atoms_are_pushed_apart_or_rejected(seed, n_atoms, coincident):
    rng = np.random.default_rng(seed)
    frac = rng.random((n_atoms, 3))
    if coincident:
        frac[1] = frac[0]
    # Within the reach of the potential, 6 Å, in every direction.
    crystal = crystal_of(np.eye(3) * 5.5, ["Cu"] * n_atoms, frac)
    verdict = check_start(crystal, Morse())
    if verdict.crystal is None:
        assert "overlap" in verdict.reason
    else:
        assert nearest_contacts(verdict.crystal)[1] >= 0.5
        assert ("pushed apart" in verdict.reason) == (nearest_contacts(crystal)[1] < 0.5)


def test_merged_and_scattered_atoms_are_no_results():
    merged = crystal_of(np.eye(3) * 4, ["Cu", "Cu"], [[0, 0, 0], [0.2, 0, 0]])
    assert "merged" in check_end(merged, 0.0, 0.5, Morse()).fault
    apart = check_end(crystal_of(np.eye(3) * 6.3, ["Cu"], [[0, 0, 0]]), 0.0, 0.5, Morse())
    assert apart == EndVerdict("the crystal fell apart: an atom has no neighbour within 6 Å")
    assert "volume changed by -60%" in check_end(copper(), -0.6, 0.5, Morse()).fault
    assert check_end(copper(), 0.1, 0.5, Morse()) == EndVerdict()


def test_symmetry_operations_carry_atoms_onto_atoms():
    crystal = perovskite()
    numbers = np.array([38, 22, 8, 8, 8])
    symmetry = find_symmetry(crystal.lattice_ang, crystal.frac_coords, numbers, 0.01)
    assert len(symmetry.rotations) == 48
    vectors = np.random.default_rng(0).normal(size=(5, 3))
    once = symmetry.average_vectors(crystal.lattice_ang, vectors)
    assert np.abs(once).max() < 1e-12  # every site of the cubic perovskite is fixed
    tensor = symmetry.average_tensor(crystal.lattice_ang, np.diag([1.0, 2.0, 6.0]))
    assert np.allclose(tensor, 3 * np.eye(3))


def test_averaging_a_nearly_symmetric_crystal_makes_it_exact():
    rough = shaken(copper(), 4, displacement_ang=0.004, strain=0.0005)
    numbers = np.full(4, 29)
    symmetry = find_symmetry(rough.lattice_ang, rough.frac_coords, numbers, 0.05)
    lattice, frac = symmetry.average_crystal(rough.lattice_ang, rough.frac_coords)
    exact = Structure(Lattice(lattice), ["Cu"] * 4, frac)
    assert SpacegroupAnalyzer(exact, symprec=1e-6).get_space_group_number() == 225
    assert np.abs(lattice - rough.lattice_ang).max() < 0.02
    assert np.abs((frac - rough.frac_coords + 0.5) % 1 - 0.5).max() < 0.01


@needs_weights
def test_symmetry_is_kept_where_it_is_asked_for():
    wurtzite = Structure.from_spacegroup(
        186, Lattice.hexagonal(3.4, 5.6), ["Zn", "O"], [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.36]]
    )
    crystal = from_structure(wurtzite)
    end = relax_crystals([crystal], RelaxSettings(keep_symmetry=True, fmax_ev_per_ang=0.01), M3GNet())[0]
    assert end.status == "converged"
    assert SpacegroupAnalyzer(to_structure(end.crystal), symprec=1e-4).get_space_group_number() == 186


@needs_weights
def test_shaken_real_crystals_relax_back():
    from pymatgen.analysis.structure_matcher import StructureMatcher

    crystals = [rocksalt(), perovskite()]
    ends = relax_crystals([shaken(c, k) for k, c in enumerate(crystals)], SETTINGS, M3GNet())
    matcher = StructureMatcher(stol=0.5, ltol=0.3, angle_tol=10)
    for crystal, end in zip(crystals, ends):
        assert end.status == "converged"
        assert matcher.fit(to_structure(end.crystal), to_structure(crystal))


def hostile_crystals(count: int, elements: list[str]) -> list[Crystal]:
    """Coincident atoms, flat cells, huge cells, single atoms and arbitrary ones; every fortieth has 100 atoms."""
    rng = np.random.default_rng(11)
    crystals = []
    for kind in range(count):
        n = 100 if kind % 40 == 4 else int(rng.integers(1, 9))
        lattice = rng.normal(size=(3, 3)) * (n * 15 / 4) ** (1 / 3) * 1.5
        frac = rng.random((n, 3))
        if kind % 5 == 0:
            frac[:] = frac[0]
        elif kind % 5 == 1:
            lattice[2] = lattice[0] + lattice[1] + rng.normal(size=3) * 10.0 ** -(kind % 9)
        elif kind % 5 == 2:
            lattice *= 10.0 ** (kind % 7)
        elif kind % 5 == 3:
            n, frac = 1, frac[:1]
        crystals.append(crystal_of(lattice, rng.choice(elements, size=n).tolist(), frac))
    return crystals


@needs_weights
@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.science)])
def test_hostile_crystals_end_as_records_with_reasons_and_finite_numbers(count):
    crystals = hostile_crystals(count, sorted(M3GNet().elements))
    ends = relax_crystals(crystals, RelaxSettings(max_steps=8), M3GNet())
    assert len(ends) == len(crystals)
    for end in ends:
        assert end.status == "converged" or end.reason
        numbers = (
            end.energy_ev_per_atom,
            end.initial_energy_ev_per_atom,
            end.max_force_ev_per_ang,
            end.volume_change,
        )
        assert np.isfinite([x for x in numbers if x is not None]).all()
        assert (end.crystal is None) == (end.status == "dropped")
        if end.crystal is not None:
            assert np.isfinite(end.crystal.lattice_ang).all()
            assert (end.crystal.frac_coords >= 0).all() and (end.crystal.frac_coords < 1).all()


def candidate(name: str, crystal: Crystal, formula: str = "NaCl") -> Candidate:
    label = Label(225, (("Cl", "b"), ("Na", "a")))
    return Candidate(
        name, "t", formula, formula, 1, label, 0, -1.0, "prototype", crystal, np.array([5.6, 5.6, 5.6, 90, 90, 90.0]),
        np.zeros(0), FitnessTerms(0.0), 1,
    )  # fmt: skip


@needs_weights
def test_the_stage_returns_every_candidate_in_its_pool_in_order():
    clash = crystal_of(np.eye(3) * 1.2, ["Na", "Cl"], [[0, 0, 0], [0.1, 0, 0]])
    pools = [
        CandidatePool(
            "a",
            "NaCl",
            (candidate("a1", rocksalt()), candidate("a2", clash), candidate("a3", cesium_chloride_type())),
        ),
        CandidatePool("b", "SrTiO3", (candidate("b1", perovskite(), "SrTiO3"),)),
        CandidatePool("c", "XeNa", ()),
    ]
    relaxed = relax_pools(pools, SETTINGS, M3GNet())
    assert [p.formula_id for p in relaxed] == ["a", "b", "c"]
    assert [c.candidate.id for c in relaxed[0].candidates] == ["a1", "a2", "a3"]
    assert [c.status for c in relaxed[0].candidates] == ["converged", "dropped", "converged"]
    assert relaxed[0].candidates[1].reason
    assert relaxed[2].candidates == ()
    salt, _, dense = relaxed[0].candidates
    assert salt.energy_ev_per_atom < dense.energy_ev_per_atom
    # The Materials Project has -2.1 eV/atom for NaCl and -3.5 for SrTiO3.
    assert salt.formation_energy_ev_per_atom == pytest.approx(-2.1, abs=0.1)
    assert relaxed[1].candidates[0].formation_energy_ev_per_atom == pytest.approx(-3.55, abs=0.1)


@needs_weights
def test_the_command_writes_the_same_bytes_for_the_same_input(tmp_path):
    pool = CandidatePool(
        "a", "NaCl", (candidate("a1", rocksalt(5.4)), candidate("a2", cesium_chloride_type()))
    )
    write_records(tmp_path / "a.jsonl", CandidatePool, [pool])
    write_json(tmp_path / "relax.json", json.loads(SETTINGS.model_dump_json()))
    for name in ("first", "second"):
        run_relax([tmp_path / "a.jsonl"], tmp_path / "relax.json", None, tmp_path / f"{name}.jsonl")
    assert (tmp_path / "first.jsonl").read_bytes() == (tmp_path / "second.jsonl").read_bytes()
    (back,) = read_records(tmp_path / "first.jsonl", RelaxedPool)
    assert back.candidates[0].potential.startswith("m3gnet ")
    assert back.candidates[0].crystal.species == ("Na", "Cl")


def test_the_command_names_missing_weights(tmp_path):
    write_records(tmp_path / "a.jsonl", CandidatePool, [])
    write_json(tmp_path / "relax.json", json.loads(SETTINGS.model_dump_json()))
    with pytest.raises(UserError, match="fetch-potential"):
        run_relax(
            [tmp_path / "a.jsonl"],
            tmp_path / "relax.json",
            tmp_path / "none.safetensors",
            tmp_path / "out.jsonl",
        )


def test_the_test_potential_is_a_potential():
    assert isinstance(Morse(), Potential)


def layers(gap_ang: float) -> Crystal:
    return crystal_of([[2.5, 0, 0], [0, 2.5, 0], [0, 0, gap_ang]], ["Cu"], [[0, 0, 0]])


ALONE = "atoms do not interact: Cu has no neighbour within 6 Å, the reach of morse; zero force is no minimum"
APART = {
    "atoms": (crystal_of(np.eye(3) * 5.97, ["Cu"], [[0, 0, 0]]), ALONE, [0]),
    "molecules": (
        crystal_of(np.diag([8.6, 6.1, 6.1]), ["Cu", "Cu"], [[0, 0, 0], [0.29, 0, 0]]),
        "molecules do not interact: they have no neighbour within 6 Å, the reach of morse; zero force is no minimum",
        [0],
    ),
    "chains": (
        crystal_of([[2.5, 0, 0], [0, 6.5, 0], [0, 0, 6.5]], ["Cu"], [[0, 0, 0]]),
        "chains do not interact: they have no neighbour within 6 Å, the reach of morse; zero force is no minimum",
        [1],
    ),
    "layers": (layers(6.5), "", [2]),
    "a crystal": (copper(), "", [3]),
}


@pytest.mark.parametrize("kind", APART)
def test_parts_out_of_the_potentials_reach_are_found_before_relaxation(kind):
    crystal, fault, periodic = APART[kind]
    assert find_fragments(crystal, 0.99 * CUTOFF_ANG).n_periodic.tolist() == periodic
    verdict = check_start(crystal, Morse())
    assert (verdict.crystal is None, verdict.reason) == (bool(fault), fault)
    assert check_end(crystal, 0.0, 0.5, Morse()).fault == fault
    (end,) = relax_crystals([crystal], RelaxSettings(max_steps=200), Morse())
    assert (end.status == "dropped") == bool(fault)
    if fault:
        assert (end.crystal, end.reason) == (None, fault)


def test_fragments_do_not_depend_on_the_choice_of_the_cell():
    skewed = np.array([[1, 0, 0], [3, 1, 0], [-2, 5, 1]])
    for crystal, _, periodic in APART.values():
        frac = crystal.frac_coords @ np.linalg.inv(skewed)
        other = crystal_of(skewed @ crystal.lattice_ang, crystal.species, frac)
        assert find_fragments(other, 0.99 * CUTOFF_ANG).n_periodic.tolist() == periodic
    twice = to_structure(layers(6.5)) * [1, 1, 2]
    assert find_fragments(from_structure(twice), 0.99 * CUTOFF_ANG).n_periodic.tolist() == [2, 2]


def test_the_distance_of_layers_is_said_to_be_arbitrary():
    (end,) = relax_crystals([layers(8.0)], RelaxSettings(max_steps=500), Morse())
    assert end.status == "converged"
    assert end.reason == (
        "layers do not interact: they are further apart than 6 Å, the reach of morse, and their distance is arbitrary"
    )


def test_a_potential_of_unknown_reach_without_any_force_converges_nothing():
    class Boundless(Morse):
        cutoff_ang = None

    (end,) = relax_crystals([crystal_of(np.eye(3) * 6.2, ["Cu"], [[0, 0, 0]])], SETTINGS, Boundless())
    assert end.status == "dropped"
    (end,) = relax_crystals([copper()], SETTINGS, Silent())
    assert (end.status, end.crystal) == ("dropped", None)
    assert "no force and no stress at all" in end.reason


class Silent(Morse):
    """Knows no reach and gives no force."""

    cutoff_ang = None

    def evaluate_batch(self, batch):
        found = super().evaluate_batch(batch)
        return BatchEvaluation(found.energy_ev, 0 * found.forces_ev_per_ang, 0 * found.stress_gpa)


@needs_weights
def test_caesium_out_of_m3gnets_reach_is_not_converged():
    half = 6.18 / 2
    caesium = crystal_of(half * (np.ones((3, 3)) - 2 * np.eye(3)), ["Cs"], [[0, 0, 0]])
    (end,) = relax_crystals([caesium], SETTINGS, M3GNet())
    assert (end.status, end.crystal) == ("dropped", None)
    assert end.reason == (
        "atoms do not interact: Cs has no neighbour within 5 Å, the reach of m3gnet; zero force is no minimum"
    )

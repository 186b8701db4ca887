"""Relaxation by Bayesian optimisation: the parameters that symmetry leaves free, and energies alone."""

import numpy as np
import pytest
from known_pools import perovskite, rocksalt
from mapcsp.crystals import from_structure, to_structure
from mapcsp.records import Crystal
from mapcsp.relax.bayesian import free_parameters
from mapcsp.relax.fetch import default_weights_path
from mapcsp.relax.fire import Start
from mapcsp.relax.m3gnet import M3GNet
from mapcsp.relax.potential import evaluate
from mapcsp.relax.relaxation import relax_crystals
from mapcsp.settings import RelaxSettings
from mapcsp.symmetry.operations import find_symmetry
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

needs_weights = pytest.mark.skipif(
    not default_weights_path().exists(), reason="the M3GNet weights are not fetched"
)


def start_of(crystal: Crystal) -> Start:
    numbers = np.array([site.specie.Z for site in to_structure(crystal)])
    symmetry = find_symmetry(crystal.lattice_ang, crystal.frac_coords, numbers, 0.01)
    return Start(crystal.lattice_ang, crystal.frac_coords @ crystal.lattice_ang, numbers, symmetry)


def rutile(a=4.7, c=3.05, x=0.32) -> Crystal:
    lattice = Lattice.tetragonal(a, c)
    return from_structure(Structure.from_spacegroup(136, lattice, ["Ti", "O"], [[0, 0, 0], [x, x, 0]]))


def wurtzite() -> Crystal:
    lattice = Lattice.hexagonal(3.4, 5.3)
    sites = [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.38]]
    return from_structure(Structure.from_spacegroup(186, lattice, ["Zn", "O"], sites))


@pytest.mark.parametrize(
    ("crystal", "n_strains", "n_displacements"),
    [(rocksalt(), 1, 0), (perovskite(), 1, 0), (rutile(), 2, 1), (wurtzite(), 2, 1)],
)
def test_the_free_parameters_are_those_of_cell_and_wyckoff_positions(crystal, n_strains, n_displacements):
    start = start_of(crystal)
    free = free_parameters(start, start.symmetry)
    assert (len(free.strains), len(free.displacements)) == (n_strains, n_displacements)


def test_a_crystal_without_symmetry_has_all_parameters_but_rigid_shifts():
    start = start_of(perovskite())
    free = free_parameters(start, None)
    assert (len(free.strains), len(free.displacements)) == (6, 3 * 5 - 3)


def test_every_value_of_the_parameters_has_the_crystals_space_group():
    start = start_of(rutile())
    free = free_parameters(start, start.symmetry)
    values = np.random.default_rng(0).uniform(-0.1, 0.1, (5, free.n))
    for lattice, positions in zip(*free.apply(start, values)):
        moved = Structure(Lattice(lattice), ["Ti"] * 2 + ["O"] * 4, positions, coords_are_cartesian=True)
        assert SpacegroupAnalyzer(moved, symprec=1e-4).get_space_group_number() == 136


@needs_weights
@pytest.mark.parametrize("crystal", [rutile(), rocksalt(5.2)], ids=["rutile", "rocksalt"])
def test_the_energy_comes_down_to_where_forces_lead(crystal):
    pytest.importorskip("bayes_opt")
    potential = M3GNet()
    settings = RelaxSettings(method="bayesian", bayesian_evaluations=12, keep_symmetry=True)
    found = relax_crystals([crystal], settings, potential)[0]
    (by_force,) = relax_crystals([crystal], RelaxSettings(keep_symmetry=True), potential)
    assert found.n_steps == 12
    gap = found.energy_ev_per_atom - by_force.energy_ev_per_atom
    assert gap < 0.25 * (found.initial_energy_ev_per_atom - by_force.energy_ev_per_atom)
    assert found.crystal.species == crystal.species
    (own,) = evaluate(potential, [found.crystal])
    assert own.energy_ev / crystal.n_atoms == pytest.approx(found.energy_ev_per_atom, abs=1e-5)
    assert found.status == "converged" or "12 energies" in found.reason

"""The same contract for every potential that is installed: what the rest of mapcsp relies on."""

import importlib
import sys
from dataclasses import replace
from importlib.util import find_spec

import known_matgl
import numpy as np
import pytest
from mapcsp.crystals import from_structure, to_structure
from mapcsp.devices import choose_device
from mapcsp.errors import UnsupportedElementError, UserError
from mapcsp.records import Crystal
from mapcsp.relax.backends import load_potential
from mapcsp.relax.fetch import default_weights_path
from mapcsp.relax.matgl import check_energies
from mapcsp.relax.potential import Potential, batch_crystals, evaluate
from mapcsp.relax.relaxation import relax_crystals
from mapcsp.settings import RelaxSettings
from pymatgen.core import Lattice, Structure

ENERGY_TOLERANCE_EV_PER_ATOM = 2e-5
FORCE_TOLERANCE_EV_PER_ANG = 2e-4
STRESS_TOLERANCE_GPA = 5e-3

INSTALLED = {
    "m3gnet": default_weights_path().exists(),
    "chgnet": find_spec("chgnet") is not None,
    "sevennet-0": find_spec("sevenn") is not None,
    "sevennet-l3i5": find_spec("sevenn") is not None,
    "ase:ase.calculators.emt:EMT": find_spec("ase") is not None,
    "matgl": find_spec("matgl") is not None,
}
needs_matgl = pytest.mark.skipif(not INSTALLED["matgl"], reason="matgl is not installed")


@pytest.fixture(scope="module")
def matgl_model(tmp_path_factory, crystals) -> str:
    """A fitted model of matgl, whose package ships none."""
    return f"matgl:{known_matgl.save_fitted(tmp_path_factory.mktemp('matgl'), crystals[2:])}"


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.skipif(not there, reason=f"{name} is not installed"))
        for name, there in INSTALLED.items()
    ],
)
def potential(request) -> Potential:
    name = request.getfixturevalue("matgl_model") if request.param == "matgl" else request.param
    return load_potential(name, "cpu")


@pytest.fixture(scope="module")
def crystals() -> list[Crystal]:
    """Three crystals of metals (so that EMT knows them too), off their minima and of different sizes."""
    fcc = Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.7), ["Cu"], [[0, 0, 0]])
    ordered = Structure.from_spacegroup(
        "Pm-3m", Lattice.cubic(3.85), ["Cu", "Au"], [[0, 0.5, 0.5], [0, 0, 0]]
    )
    skewed = Structure(
        Lattice.from_parameters(2.7, 2.8, 4.5, 85, 95, 110), ["Al", "Ni"], [[0, 0, 0], [0.4, 0.55, 0.48]]
    )
    rng = np.random.default_rng(7)
    out = []
    for structure in (fcc.get_primitive_structure(), ordered, skewed):
        crystal = from_structure(structure)
        shift = rng.normal(scale=0.08, size=(crystal.n_atoms, 3)) @ np.linalg.inv(crystal.lattice_ang)
        out.append(Crystal(crystal.lattice_ang, crystal.species, np.mod(crystal.frac_coords + shift, 1)))
    return out


def energies_per_atom(potential, crystals):
    return np.array([e.energy_ev / c.n_atoms for e, c in zip(evaluate(potential, crystals), crystals)])


def test_a_batch_gives_the_same_as_one_at_a_time(potential, crystals):
    together = evaluate(potential, crystals)
    for crystal, both in zip(crystals, together):
        alone = evaluate(potential, [crystal])[0]
        assert both.forces_ev_per_ang.shape == (crystal.n_atoms, 3)
        assert both.stress_gpa.shape == (3, 3)
        assert alone.energy_ev / crystal.n_atoms == pytest.approx(
            both.energy_ev / crystal.n_atoms, abs=ENERGY_TOLERANCE_EV_PER_ATOM
        )
        assert np.allclose(alone.forces_ev_per_ang, both.forces_ev_per_ang, atol=FORCE_TOLERANCE_EV_PER_ANG)
        assert np.allclose(alone.stress_gpa, both.stress_gpa, atol=STRESS_TOLERANCE_GPA)


def test_nothing_given_gives_nothing(potential):
    assert evaluate(potential, []) == []


def test_the_input_is_not_changed(potential, crystals):
    batch = batch_crystals(crystals)
    before = [a.copy() for a in (batch.lattices_ang, batch.positions_ang, batch.numbers, batch.counts)]
    potential.evaluate_batch(batch)
    for array, copy in zip((batch.lattices_ang, batch.positions_ang, batch.numbers, batch.counts), before):
        assert (array == copy).all()


def test_forces_are_the_slope_of_the_energy(potential, crystals):
    step = 0.005
    crystal = crystals[2]
    forces = evaluate(potential, [crystal])[0].forces_ev_per_ang
    assert np.abs(forces.sum(axis=0)).max() < FORCE_TOLERANCE_EV_PER_ANG
    moved = []
    for axis in range(3):
        for sign in (1, -1):
            positions = crystal.frac_coords @ crystal.lattice_ang
            positions[1, axis] += sign * step
            moved.append(
                Crystal(crystal.lattice_ang, crystal.species, positions @ np.linalg.inv(crystal.lattice_ang))
            )
    energy = np.array([e.energy_ev for e in evaluate(potential, moved)]).reshape(3, 2)
    slope = (energy[:, 1] - energy[:, 0]) / (2 * step)
    assert np.allclose(forces[1], slope, atol=0.02 * np.abs(forces).max() + 1e-3)


def test_stress_is_the_slope_of_the_energy_by_strain_and_negative_under_compression(potential, crystals):
    step = 0.002
    crystal = crystals[2]
    stress = evaluate(potential, [crystal])[0].stress_gpa
    assert np.allclose(stress, stress.T, atol=STRESS_TOLERANCE_GPA)
    slope = np.zeros((3, 3))
    for i in range(3):
        for j in range(i, 3):
            pair = []
            for sign in (1, -1):
                strain = np.eye(3)
                strain[i, j] += sign * step / 2
                strain[j, i] += sign * step / 2
                pair.append(Crystal(crystal.lattice_ang @ strain, crystal.species, crystal.frac_coords))
            plus, minus = evaluate(potential, pair)
            slope[i, j] = slope[j, i] = (
                (plus.energy_ev - minus.energy_ev) / (2 * step) / crystal.volume_ang3 * 160.21766
            )
    assert np.allclose(stress, slope, atol=0.02 * np.abs(stress).max() + 0.05)
    squeezed = Crystal(crystal.lattice_ang * 0.85, crystal.species, crystal.frac_coords)
    assert np.trace(evaluate(potential, [squeezed])[0].stress_gpa) < 0


def test_energies_do_not_depend_on_how_a_crystal_is_written(potential, crystals):
    rng = np.random.default_rng(3)
    for crystal in crystals[1:]:
        rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        order = rng.permutation(crystal.n_atoms)
        shear = np.array([[1, 1, 0], [0, 1, -1], [0, 0, 1]])
        supercell = to_structure(crystal)
        supercell.make_supercell([[1, 0, 0], [0, 2, 0], [1, 0, 1]])
        same = [
            crystal,
            Crystal(crystal.lattice_ang @ rotation, crystal.species, crystal.frac_coords),
            Crystal(crystal.lattice_ang, crystal.species, np.mod(crystal.frac_coords + [0.3, 0.2, 0.9], 1)),
            Crystal(
                crystal.lattice_ang, tuple(crystal.species[k] for k in order), crystal.frac_coords[order]
            ),
            Crystal(shear @ crystal.lattice_ang, crystal.species, crystal.frac_coords @ np.linalg.inv(shear)),
            from_structure(supercell),
        ]
        energy = energies_per_atom(potential, same)
        assert np.abs(energy - energy[0]).max() < ENERGY_TOLERANCE_EV_PER_ATOM


def test_forces_and_stress_turn_with_the_crystal(potential, crystals):
    rotation = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
    crystal = crystals[2]
    turned = Crystal(crystal.lattice_ang @ rotation, crystal.species, crystal.frac_coords)
    first, second = evaluate(potential, [crystal, turned])
    assert np.allclose(
        first.forces_ev_per_ang @ rotation, second.forces_ev_per_ang, atol=FORCE_TOLERANCE_EV_PER_ANG
    )
    assert np.allclose(rotation.T @ first.stress_gpa @ rotation, second.stress_gpa, atol=STRESS_TOLERANCE_GPA)


def test_elements_outside_the_training_are_refused_by_name(potential):
    if potential.name.startswith("ase:"):
        pytest.skip("a calculator of the user's knows its own elements")
    radium = Crystal(np.eye(3) * 5, ("Ra",), np.zeros((1, 3)))
    with pytest.raises(UnsupportedElementError, match="Ra"):
        evaluate(potential, [radium])


def test_an_unknown_potential_or_calculator_is_a_users_mistake():
    with pytest.raises(UserError, match="lennard-jones"):
        load_potential("lennard-jones")
    with pytest.raises(UserError, match="ase:nowhere:Nothing"):
        load_potential("ase:nowhere:Nothing")


def test_an_edited_calculator_of_ones_own_is_another_potential(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    source = "from ase.calculators.lj import LennardJones\n\n\ndef make():\n    return LennardJones(rc=5)\n"
    hashes = []
    for text in (source, f"# Words.\n{source}", source.replace("rc=5", "rc=6")):
        (tmp_path / "own_calculator.py").write_text(text)
        sys.modules.pop("own_calculator", None)
        importlib.invalidate_caches()
        hashes.append(load_potential("ase:own_calculator:make", "cpu").content_hash)
    assert hashes[0] == hashes[1] != hashes[2]


class Distorted:
    """A potential whose energies and forces are those of another, passed through functions."""

    def __init__(self, potential, energy, forces=lambda forces: forces):
        self.name, self.content_hash = "distorted", "0"
        self.elements, self.needs_mp2020 = potential.elements, potential.needs_mp2020
        self.cutoff_ang = potential.cutoff_ang
        self._potential, self._energy, self._forces = potential, energy, forces

    def evaluate_batch(self, batch):
        found = self._potential.evaluate_batch(batch)
        return replace(
            found,
            energy_ev=self._energy(found.energy_ev),
            forces_ev_per_ang=self._forces(found.forces_ev_per_ang),
        )


@pytest.mark.skipif(not INSTALLED["m3gnet"], reason="the M3GNet weights are not fetched")
def test_the_check_of_known_crystals_passes_what_is_right_and_refuses_what_is_not():
    right = load_potential("m3gnet", "cpu")
    assert check_energies(right) == ""
    assert "of its lattice constant" in check_energies(Distorted(right, lambda e: -e))
    assert "not finite" in check_energies(Distorted(right, lambda e: e * np.nan))
    assert "slope" in check_energies(Distorted(right, lambda e: e, lambda f: 1.5 * f))


@pytest.mark.skipif(find_spec("matgl") is not None, reason="matgl is installed")
def test_matgl_that_is_not_installed_is_said_in_a_line():
    with pytest.raises(UserError, match=r"mapcsp\[matgl\]"):
        load_potential("matgl:M3GNet-MP-2021.2.8-PES")


@needs_matgl
def test_matgl_finds_the_cell_that_its_model_was_fitted_to(matgl_model):
    potential = load_potential(matgl_model, "cpu")
    wide = known_matgl.binary("Na", "Cl", 0.5, 1.1 * known_matgl.SODIUM_CHLORIDE_ANG)
    (end,) = relax_crystals([wide], RelaxSettings(), potential)
    assert end.status == "converged"
    assert (4 * end.crystal.volume_ang3) ** (1 / 3) == pytest.approx(
        known_matgl.SODIUM_CHLORIDE_ANG, rel=0.02
    )


@needs_matgl
def test_an_untrained_model_of_matgl_is_refused_in_a_line(tmp_path):
    folder = known_matgl.save_untrained(tmp_path / "model")
    with pytest.raises(UserError, match="fails the check on known crystals: NaCl is low") as refusal:
        load_potential(f"matgl:{folder}", "cpu")
    assert "\n" not in str(refusal.value)


@needs_matgl
def test_a_model_of_matgl_that_is_no_potential_or_not_there_is_a_users_mistake(tmp_path, monkeypatch):
    import matgl

    with pytest.raises(UserError, match="lacks model.json, model.pt, state.pt; name a model of matgl's hub"):
        load_potential(f"matgl:{tmp_path / 'nowhere'}", "cpu")
    known_matgl.save_untrained(tmp_path)
    network = matgl.load_model(tmp_path)
    network.model.save(tmp_path / "part")
    with pytest.raises(UserError, match="is a M3GNet, not a potential"):
        load_potential(f"matgl:{tmp_path / 'part'}", "cpu")
    (tmp_path / "state.pt").write_bytes(b"no weights")
    with pytest.raises(UserError, match="cannot be loaded: "):
        load_potential(f"matgl:{tmp_path}", "cpu")
    network.model.element_types = ("Na", "Cl")
    with pytest.raises(UserError, match="does not know Mg, O, with which"):
        monkeypatch.setattr(matgl, "load_model", lambda model: network)
        load_potential("matgl:a-name-on-the-hub", "cpu")


def test_auto_takes_a_device_that_is_there():
    assert choose_device("auto") in ("cpu", "cuda")
    assert choose_device("cpu") == "cpu"

"""Training pairs, a short training that resumes to the same bytes, and the figures of a card, on made crystals."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from known_pools import face_centred
from mapcsp.crystals import from_structure
from mapcsp.deeprelax.graph import GraphSettings
from mapcsp.deeprelax.model import RelaxModel
from mapcsp.deeprelax.network import NetworkConfig, PaEGNN
from mapcsp.deeprelax.pairs import RelaxPair, read_pairs, write_pairs
from mapcsp.deeprelax.predict import relax_in_one_pass
from mapcsp.errors import UserError
from mapcsp.records import Crystal
from mapcsp.training.deeprelax.card import _members
from mapcsp.training.deeprelax.evaluate import judge, judge_answers
from mapcsp.training.deeprelax.metrics import Answer, dummy_answer, relax_errors, scaled_answer
from mapcsp.training.deeprelax.painn import PAINN_NETWORK, LibraryPaiNN
from mapcsp.training.deeprelax.pairs import build_pairs, candidate_pairs, sphere_volume_ang3
from mapcsp.training.deeprelax.train import SHIPPED, epoch_batches, train_member
from mapcsp.training.encoded import encode_known
from mapcsp.training.tables import KnownCrystal
from pymatgen.core import Lattice, Structure
from scipy.spatial.transform import Rotation
from test_deeprelax import low_symmetry, network
from test_deeprelax_run import pool

CATIONS, ANIONS = ("Li", "Na", "K", "Rb"), ("F", "Cl", "Br", "I")
RADII = dict(zip(CATIONS + ANIONS, (0.76, 1.02, 1.38, 1.52, 1.33, 1.81, 1.96, 2.20)))
VOLUMES = np.full(95, 15.0)


def halides() -> list[KnownCrystal]:
    """Rocksalt halides whose lattice constant is twice the sum of ionic radii, and cubic perovskites of the same ions."""
    found = []
    for cation in CATIONS:
        for anion in ANIONS:
            a = 2 * (RADII[cation] + RADII[anion])
            salt = Structure(face_centred(a), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])
            sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
            other = Structure(Lattice.cubic(0.8 * a), [cation, "Ca", *[anion] * 3], sites)
            for name, structure in ((f"{cation}{anion}", salt), (f"{cation}Ca{anion}3", other)):
                found.append(KnownCrystal(name, name, from_structure(structure), None, None))
    return found


@pytest.fixture(scope="module")
def pairs() -> list[RelaxPair]:
    encoded, failed = encode_known(halides())
    assert not failed
    return build_pairs(encoded, encoded, seed=1, pairs_each=2)


def test_a_pair_is_another_crystal_of_the_prototype_with_its_elements_replaced(pairs):
    assert len(pairs) == 64
    for pair in pairs:
        target, _, source = pair.id.partition("<")
        assert target != source
        assert pair.formula == target
        assert ("Ca" in target) == ("Ca" in source)
        a = 2 * sum(RADII[s] for s in set(pair.initial.species) - {"Ca"})
        assert pair.relaxed.volume_ang3 == pytest.approx(
            a**3 / 4 if "Ca" not in target else (0.8 * a) ** 3, rel=1e-5
        )


def test_the_unrelaxed_volume_is_scaled_by_the_covalent_spheres(pairs):
    known = {k.material_id: k.crystal for k in halides()}
    for pair in pairs:
        source = known[pair.id.partition("<")[2]]
        ratio = sphere_volume_ang3(pair.initial.species) / sphere_volume_ang3(source.species)
        assert pair.initial.volume_ang3 / source.volume_ang3 == pytest.approx(ratio, rel=1e-5)


def test_pairs_do_not_depend_on_the_order_of_targets():
    encoded, _ = encode_known(halides())
    forwards = {p.id for p in build_pairs(encoded, encoded, 3, 1)}
    assert forwards == {p.id for p in build_pairs(encoded[::-1], encoded, 3, 1)}


def test_pairs_survive_a_file(pairs, tmp_path):
    write_pairs(tmp_path / "p.jsonl", pairs)
    again = read_pairs(tmp_path / "p.jsonl")
    assert [p.id for p in again] == [p.id for p in pairs]
    assert np.array_equal(again[5].frac_coords, pairs[5].frac_coords)


def test_candidates_of_the_true_prototype_make_pairs():
    known = {k.material_id: k.crystal for k in halides()}
    stretched = Crystal(known["NaCl"].lattice_ang * 1.1, ("Na", "Cl"), known["NaCl"].frac_coords)
    made = candidate_pairs([pool(stretched, low_symmetry(1))], {"NaCl": known["NaCl"]})
    assert [p.id for p in made] == ["NaCl<c0"]
    assert made[0].initial.volume_ang3 / made[0].relaxed.volume_ang3 == pytest.approx(1.331, rel=1e-6)
    assert candidate_pairs([pool(stretched)], {}) == []


@given(epoch=st.integers(0, 20), batch_atoms=st.integers(5, 60))
@settings(max_examples=15, deadline=None)
def test_an_epoch_has_each_crystal_once_in_batches_of_bounded_size(pairs, epoch, batch_atoms):
    batches = epoch_batches(pairs, batch_atoms, seed=1, epoch=epoch)
    seen = [pairs[i].id.partition("<")[0] for b in batches for i in b]
    assert sorted(seen) == sorted({p.id.partition("<")[0] for p in pairs})
    # A batch ends with the crystal that would exceed the bound at the latest.
    assert all(sum(pairs[i].initial.n_atoms for i in b) < batch_atoms + 5 for b in batches)


SMALL = replace(
    SHIPPED,
    network=NetworkConfig(width=16, layers=2, radial=12, offset_channels=4, vector_channels=4),
    loop=replace(SHIPPED.loop, epochs=8, warmup_steps=5, ema_decay=0.8, learning_rate=5e-3),
    batch_atoms=30,
)


def test_a_short_training_learns_and_resumes_to_the_same_bytes(pairs, tmp_path):
    whole = train_member(pairs, pairs[:8], VOLUMES, SMALL, tmp_path / "whole")
    budget = iter([True] * 17 + [False])
    assert train_member(pairs, pairs[:8], VOLUMES, SMALL, tmp_path / "cut", lambda: next(budget)) is None
    resumed = train_member(pairs, pairs[:8], VOLUMES, SMALL, tmp_path / "cut")
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values()):
        assert one.numpy().tobytes() == other.numpy().tobytes()
    torch.manual_seed(1)
    untrained = PaEGNN(SMALL.network, VOLUMES)
    before, after = (
        judge(RelaxModel("small", (n.eval(),), SMALL.graph), pairs[:16]) for n in (untrained, whole)
    )
    ratios = {name: after[name] / before[name] for name in ("volume_mre", "lattice_mae_ang")}
    # Eight epochs on 64 pairs: the cell is what can be learned.
    assert ratios["volume_mre"] < 0.97 and ratios["lattice_mae_ang"] < 0.9
    assert after["uncertainty_spearman"] == after["uncertainty_spearman_aleatoric"]


def test_errors_are_those_worked_out_by_hand():
    lattice = np.diag([4.0, 4.0, 4.0])
    initial = Crystal(lattice, ("Na", "Cl"), np.array([[0.25, 0.5, 0.5], [0.75, 0.5, 0.5]]))
    pair = RelaxPair("p", "NaCl", initial, np.diag([4.4, 4.0, 4.0]), initial.frac_coords)
    errors = relax_errors([pair], [dummy_answer(pair)])
    # x of each atom is 1 Å from the centroid, 1.1 Å relaxed: .1 Å in two of six components.
    assert errors.coordinate_mae_ang == pytest.approx(0.2 / 6)
    assert errors.lattice_mae_ang == pytest.approx(0.4 / 9)
    assert errors.volume_mae_ang3 == pytest.approx(6.4)
    assert errors.volume_mre == pytest.approx(1 - 4.0 / 4.4)
    assert errors.match_rate == 1.0
    exact = relax_errors([pair], [Answer(pair.lattice_ang, pair.frac_coords + 0.1)])
    # An origin is a convention.
    assert exact.coordinate_mae_ang == pytest.approx(0, abs=1e-12)
    scaled = scaled_answer(pair, VOLUMES)
    assert abs(np.linalg.det(scaled.lattice_ang)) == pytest.approx(30.0)


def test_errors_need_an_answer_to_each_pair():
    with pytest.raises(ValueError, match="0 answers to 0 pairs"):
        relax_errors([], [])


def test_judging_compares_with_the_dummy_at_its_own_volume(pairs):
    figures = judge(RelaxModel("untrained", (network(1),), GraphSettings()), pairs[:10])
    expected = relax_errors(pairs[:10], [dummy_answer(p) for p in pairs[:10]])
    assert figures["volume_mae_ang3_dummy"] == pytest.approx(expected.volume_mae_ang3)
    gain = 1 - figures["lattice_mae_ang"] / expected.lattice_mae_ang
    assert figures["lattice_gain"] == pytest.approx(gain)
    # All bonds of a cubic crystal scale with the cell.
    salts = [p for p in pairs if len(p.initial.species) == 2][:1]
    ratio = (salts[0].initial.volume_ang3 / salts[0].relaxed.volume_ang3) ** (1 / 3)
    lengths = np.repeat([0.5, 0.5**0.5], [6, 12]) * (4 * salts[0].relaxed.volume_ang3) ** (1 / 3)
    alone = judge(RelaxModel("untrained", (network(1),), GraphSettings()), salts)
    assert alone["bond_mae_ang_dummy"] == pytest.approx(abs(ratio - 1) * lengths.mean(), rel=1e-4)


def test_painn_without_its_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "schnetpack", None)
    monkeypatch.setitem(sys.modules, "schnetpack.nn", None)
    with pytest.raises(UserError, match="PaiNN baseline needs SchNetPack .* extra `painn`"):
        LibraryPaiNN(PAINN_NETWORK, VOLUMES)


def test_the_library_s_painn_learns_and_turns_with_the_crystal(pairs, tmp_path):
    pytest.importorskip("schnetpack")
    size = replace(PAINN_NETWORK, width=16, layers=2, radial=12, vector_channels=4)
    training = replace(SMALL, network=size)
    trained = train_member(pairs, pairs[:8], VOLUMES, training, tmp_path / "painn", kind=LibraryPaiNN)
    torch.manual_seed(1)
    untrained = LibraryPaiNN(size, VOLUMES)
    before, after = (
        judge_answers(RelaxModel("painn", (n.eval(),), SMALL.graph), pairs[:16]) for n in (untrained, trained)
    )
    assert after["volume_mre"] < 0.97 * before["volume_mre"]
    crystal = low_symmetry(1)
    turn = Rotation.random(random_state=1).as_matrix()
    turned = replace(crystal, lattice_ang=crystal.lattice_ang @ turn)
    one, other = relax_in_one_pass([crystal, turned], RelaxModel("painn", (trained,), SMALL.graph))
    assert np.allclose(other.crystal.lattice_ang, one.crystal.lattice_ang @ turn, atol=2e-4)
    assert np.allclose(other.frac_unwrapped, one.frac_unwrapped, atol=2e-4)
    assert np.abs(one.frac_unwrapped - crystal.frac_coords).max() > 1e-4


def test_a_card_says_how_far_an_ensemble_is_from_the_paper_s():
    assert "2 members against the paper's 5" in _members(2)
    assert "--members 5" in _members(2)
    assert "against" not in _members(5)

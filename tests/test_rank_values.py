"""Numbers of the ranking, worked by hand: features, symmetry where it is not found, and what a fit must satisfy."""

from __future__ import annotations

import dataclasses
import math

import known_pools as known
import numpy as np
import pytest
from mapcsp.crystals import from_structure, to_structure
from mapcsp.errors import StoreError
from mapcsp.ranking import RankExample, fit_coefficients, load_ranker, rank_pool, symmetry_found
from mapcsp.ranking.domain import NONMETALS
from mapcsp.ranking.features import FEATURES, NAMES, pool_features
from mapcsp.ranking.model import log_probabilities
from mapcsp.ranking.run import cif_text
from mapcsp.ranking.symmetry_found import find_symmetry
from mapcsp.records import Crystal
from mapcsp.settings import RankingSettings
from pymatgen.core import Element


def columns(*changes: dict) -> dict[str, list[float]]:
    """Features of rock salt candidates, each with some fields changed."""
    one = known.salt_pool().candidates[0]
    pool = [dataclasses.replace(one, **change) for change in changes]
    table = pool_features(pool, list(range(len(pool))))
    return {name: table[:, NAMES.index(name)].tolist() for name in NAMES}


def test_the_change_of_volume_is_a_logarithm_of_at_most_one() -> None:
    found = columns(
        {"volume_change": -0.5}, {"volume_change": 0.25}, {"volume_change": 9.0}, {"volume_change": -1.0}
    )
    assert found["volume_change"] == pytest.approx([math.log(2), math.log(1.25), 1.0, 1.0])


def test_the_energy_lost_in_relaxation_is_between_nothing_and_two_ev() -> None:
    energies = [-3.0, -3.6, -5.5, -2.0]
    found = columns(*({"initial_energy_ev_per_atom": -3.0, "energy_ev_per_atom": e} for e in energies))
    assert found["energy_drop_ev_per_atom"] == pytest.approx([0.0, 0.6, 2.0, 0.0])


def test_what_a_candidate_lacks_counts_as_the_mean_of_the_others_or_nothing() -> None:
    found = columns({"volume_change": 0.1}, {"volume_change": None}, {"volume_change": 0.3})
    assert found["volume_change"][1] == pytest.approx((math.log(1.1) + math.log(1.3)) / 2)
    none = {"volume_change": None, "initial_energy_ev_per_atom": None}
    found = columns(none, none)
    assert found["volume_change"] == found["energy_drop_ev_per_atom"] == [0.0, 0.0]


def test_features_have_a_sign_of_one_or_minus_one() -> None:
    assert {f.name for f in FEATURES if f.sign == -1} >= {"energy_above", "rescored_above", "volume_change"}
    assert {f.sign for f in FEATURES} == {1, -1}


def test_nonmetals_are_those_of_the_periodic_table_that_make_molecules() -> None:
    # Nonmetals by the table's upper right, without boron, silicon and the other metalloids.
    table = {
        e.symbol for e in Element if e.Z <= 54 and (e.is_noble_gas or e.is_halogen or e.symbol in "HCNOPS")
    }
    assert table | {"Se"} == NONMETALS


def test_a_crystal_in_which_no_symmetry_is_found_is_its_own_cell_in_p1(monkeypatch) -> None:
    def fails(*_args, **_settings):
        raise ValueError("too tight")

    crystal = from_structure(to_structure(known.rocksalt()) * (2, 1, 1))
    monkeypatch.setattr(symmetry_found, "MoyoDataset", fails)
    found = find_symmetry(crystal, 0.1)
    assert (found.space_group, found.z, found.symbol, found.symmetrised) == (1, 2, "P1", False)
    assert found.primitive is found.conventional is crystal
    assert "_symmetry_Int_Tables_number   1\n" in cif_text(found)


def test_standard_cells_have_the_tables_second_origin_and_coordinates_within_the_cell() -> None:
    face_centred = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 1.783
    found = find_symmetry(Crystal(face_centred, ("C", "C"), np.array([[0, 0, 0], [0.25, 0.25, 0.25]])), 0.01)
    assert (found.space_group, found.z, found.conventional.n_atoms) == (227, 2, 8)
    # Diamond about its centre of symmetry: 8a is at (1/8, 1/8, 1/8) and (7/8, 3/8, 3/8).
    assert set(found.conventional.frac_coords.round(6).ravel().tolist()) == {0.125, 0.375, 0.625, 0.875}
    for crystal in (found.primitive, found.conventional):
        assert (crystal.frac_coords >= 0).all() and (crystal.frac_coords < 1).all()


def test_two_crystals_with_second_energies_are_enough_to_disagree() -> None:
    pool = known.salt_pool()
    second = {"salt-0": -13.40, "cesium-0": -13.33}
    rescored = tuple(
        dataclasses.replace(r, rescored_energy_ev_per_atom=second.get(r.candidate.id), rescored_by="another")
        for r in pool.candidates
    )
    outcome, _, _ = rank_pool(
        dataclasses.replace(pool, candidates=rescored), RankingSettings(), load_ranker()
    )
    # They differ by 10.00 and 9.96 eV from the first energies, 0.02 from the median of both.
    found = {s.space_group: s.energy_uncertainty_ev_per_atom for s in outcome.structures}
    assert found[225] == pytest.approx(0.02) and found[221] == pytest.approx(0.02) and found[216] is None
    above = {s.space_group: s.rescored_above_best_ev_per_atom for s in outcome.structures}
    assert above[225] == 0.0 and above[221] == pytest.approx(0.07) and above[216] is None


def pools(n: int, seed: int = 0) -> list[RankExample]:
    """Pools in which the answer goes with the label alone; contacts are noise."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        features = np.zeros((6, len(FEATURES)))
        features[:, NAMES.index("label_log_prob")] = -rng.exponential(2.0, 6)
        features[:, NAMES.index("contact_dice")] = rng.random(6)
        chances = np.exp(np.append(features[:, NAMES.index("label_log_prob")], -1.5))
        answer = rng.choice(7, p=chances / chances.sum())
        found.append(RankExample(features, np.zeros(6), np.arange(6), np.arange(6) == answer))
    return found


def penalised_loss(examples: list[RankExample], coefficients, ridge: float) -> float:
    """Minus the log-likelihood of the right answers, and the penalty on contacts of unit spread, one pool at a time."""
    loss = 0.0
    for example in examples:
        log_prob, log_none = log_probabilities(example.features, example.log_weight, coefficients)
        right = log_prob[example.right]
        loss -= right[0] if len(right) else log_none
    contacts = NAMES.index("contact_dice")
    spread = np.concatenate([e.features[:, contacts] for e in examples]).std()
    return loss + ridge * (coefficients.vector[contacts] * spread) ** 2


def test_a_fit_is_the_least_of_the_penalised_loss() -> None:
    examples, ridge, contacts = pools(60), 2.0, NAMES.index("contact_dice")
    for example in examples:
        # Contacts tell the right answer from the others, so that their coefficient is not at its bound.
        example.features[:, contacts] += 0.5 * example.right
    fitted = fit_coefficients(examples, ("label_log_prob", "contact_dice"), ridge)
    least = penalised_loss(examples, fitted, ridge)
    assert fitted.vector[contacts] > 0.5
    for step in (-0.02, 0.02):
        moved = [(n, v + step * (n == "contact_dice")) for n, v in fitted.coefficients]
        assert penalised_loss(examples, dataclasses.replace(fitted, coefficients=tuple(moved)), ridge) > least
        moved = [(n, v + step * (n == "label_log_prob")) for n, v in fitted.coefficients]
        assert penalised_loss(examples, dataclasses.replace(fitted, coefficients=tuple(moved)), ridge) > least
        other = dataclasses.replace(fitted, none_score=fitted.none_score + step)
        assert penalised_loss(examples, other, ridge) > least


def test_a_term_that_says_nothing_may_fall_to_zero() -> None:
    fitted = dict(fit_coefficients(pools(300)).coefficients)
    assert 0 <= fitted["contact_dice"] < 0.5
    assert fitted["label_log_prob"] == pytest.approx(1.0, abs=0.3)


def test_the_label_is_not_penalised() -> None:
    few = pools(40)
    weak, strong = (
        dict(fit_coefficients(few, ("label_log_prob",), ridge).coefficients) for ridge in (0.0, 1e4)
    )
    assert (
        strong["label_log_prob"] == pytest.approx(weak["label_log_prob"], abs=1e-3)
        and weak["label_log_prob"] > 0.3
    )


def test_a_file_that_is_no_ranker_is_named_with_the_cause(tmp_path) -> None:
    (tmp_path / "other.json").write_text('{"potential": "m3gnet"}')
    with pytest.raises(StoreError, match=r"other\.json does not hold ranker coefficients \("):
        load_ranker(tmp_path / "other.json")

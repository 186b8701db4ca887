"""The rank stage: symmetry found again, duplicates merged, calibrated order, complete outputs."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import known_pools as known
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapcsp.crystals import to_structure
from mapcsp.errors import StoreError
from mapcsp.metrics.match import STRICT, match_rms
from mapcsp.ranking import (
    RankExample,
    fit_ranker,
    load_ranker,
    rank_example,
    rank_formula,
    rank_pool,
    run_rank,
    save_ranker,
)
from mapcsp.ranking.duplicates import average_distances, group_duplicates
from mapcsp.ranking.features import FEATURES, NAMES, pool_features
from mapcsp.ranking.model import log_probabilities, log_weights
from mapcsp.ranking.symmetry_found import find_symmetry, formula_units
from mapcsp.records import CandidatePool, CandidateSummary, FormulaOutcome, RelaxedPool
from mapcsp.settings import RankingSettings
from mapcsp.store import read_records, write_json, write_records
from pymatgen.core import Structure

INVARIANT_TOLERANCE_ANG = 1e-6
BY_ENERGY = RankingSettings(rank_by="energy")


def write_inputs(folder: Path, ids=None, pools=None, **ranking) -> dict:
    pools = [known.salt_pool(), known.oxide_pool(), known.empty_pool()] if pools is None else pools
    write_json(folder / "intake" / "index.json", {"ids": known.IDS if ids is None else ids})
    write_records(folder / "pools.jsonl", CandidatePool, known.candidate_pools())
    write_records(folder / "relaxed.jsonl", RelaxedPool, pools)
    write_json(folder / "ranking.json", RankingSettings(**ranking).model_dump(mode="json"))
    return {
        "relaxed_files": [folder / "relaxed.jsonl"],
        "pool_files": [folder / "pools.jsonl"],
        "intake_index": folder / "intake" / "index.json",
        "settings_file": folder / "ranking.json",
        "output_dir": folder / "ranking",
    }


def test_symmetry_of_known_crystals_is_found_in_any_cell():
    for crystal, space_group in [
        (known.rocksalt(), 225),
        (known.cesium_chloride_type(), 221),
        (known.zinc_blende_type(), 216),
        (known.perovskite(), 221),
    ]:
        for seed in range(3):
            found = find_symmetry(known.shaken(crystal, 0.002, seed), 0.1)
            assert (found.space_group, found.z, found.primitive.n_atoms) == (space_group, 1, crystal.n_atoms)
    assert find_symmetry(known.rocksalt(), 0.1).symbol == "Fm-3m"


def test_a_doubled_cell_has_the_formula_units_of_its_primitive_cell():
    cell = to_structure(known.rocksalt())
    doubled = known.from_structure(cell * (2, 1, 1))
    assert formula_units(doubled) == 2
    assert find_symmetry(doubled, 0.1).z == 1


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(0.8, 1.3))
def test_average_distances_ignore_cell_origin_and_order_and_scale_with_the_crystal(seed, scale):
    for crystal in (known.rocksalt(), known.perovskite(), known.zinc_blende_type()):
        expected = average_distances(crystal)
        other = known.shaken(crystal, 0.0, seed)
        scaled = dataclasses.replace(other, lattice_ang=other.lattice_ang * scale)
        assert np.abs(average_distances(scaled) - scale * expected).max() < INVARIANT_TOLERANCE_ANG


def test_average_distances_of_rock_salt_are_those_of_its_shells():
    shells = average_distances(known.rocksalt(5.64))
    assert np.allclose(shells[:, :6], 5.64 / 2) and np.allclose(shells[:, 6:], 5.64 / np.sqrt(2))


def test_duplicates_are_grouped_by_their_lowest_member():
    pool = known.salt_pool().candidates[:5]
    groups = group_duplicates([r.crystal for r in pool], [r.energy_ev_per_atom for r in pool])
    assert groups == [0, 0, 1, 2, 0]


def test_equal_crystals_of_clearly_different_energy_stay_apart():
    assert group_duplicates([known.rocksalt(), known.rocksalt()], [-3.4, -3.3]) == [0, 1]


def test_grouping_fifty_candidates_of_twelve_atoms_is_fast():
    import time

    base = to_structure(known.perovskite()) * (2, 1, 1)
    crystals = [known.shaken(known.from_structure(base), 0.02 * (i % 5), i) for i in range(50)]
    start = time.process_time()
    groups = group_duplicates(crystals, [-8.0 + 1e-4 * (i % 5) for i in range(50)])
    assert time.process_time() - start < 5.0
    assert groups[0] == groups[5] == 0


def test_ranking_by_energy_puts_the_lowest_first_and_gives_no_probability():
    outcome = rank_formula(known.salt_pool(), BY_ENERGY, load_ranker())
    assert [s.relaxed.candidate.id for s in outcome.structures] == ["blende-1", "cesium-0", "blende-0"]
    assert [s.space_group for s in outcome.structures] == [225, 221, 216]
    assert all(s.probability is None for s in outcome.structures)
    assert [s.merged for s in outcome.structures] == [2, 0, 0]
    assert outcome.structures[0].energy_above_best_ev_per_atom == 0.0


def test_ranking_by_probability_lets_the_likeliest_duplicate_stand_for_the_rest():
    outcome = rank_formula(known.salt_pool(), RankingSettings(), load_ranker())
    first = outcome.structures[0]
    assert first.relaxed.candidate.id == "salt-0" and first.merged == 2 and first.rank == 1
    probabilities = [s.probability for s in outcome.structures]
    assert probabilities == sorted(probabilities, reverse=True)
    assert 0.5 < sum(probabilities) < 1.0


def test_probabilities_of_all_candidates_and_none_sum_to_one():
    outcome, summaries, _ = rank_pool(known.salt_pool(), RankingSettings(top_k=1), load_ranker())
    shares = [s.probability for s in summaries if s.probability is not None]
    merged = sum(s.probability for s in summaries if s.rank == 1)
    assert outcome.structures[0].probability == pytest.approx(merged)
    assert 0.7 < sum(shares) < 1.0


def test_a_label_kept_three_times_counts_once():
    assert np.allclose(np.exp(log_weights([0, 0, 0, 1], ["a", "a", "b", "a"])), [0.5, 0.5, 1.0, 1.0])


def test_candidates_without_energy_never_rank_and_say_why():
    outcome, summaries, _ = rank_pool(known.salt_pool(), RankingSettings(), load_ranker())
    assert (outcome.n_candidates, outcome.n_relaxed) == (6, 5)
    lost = summaries[-1]
    assert (lost.candidate_id, lost.rank, lost.probability, lost.reason) == (
        "lost-0",
        None,
        None,
        "volume collapsed",
    )


def test_a_pool_in_which_nothing_survived_fails_with_counted_reasons():
    pool = RelaxedPool("NaCl", "NaCl", known.salt_pool().candidates[-1:] * 2)
    outcome = rank_formula(pool, RankingSettings(), load_ranker())
    assert (outcome.status, outcome.structures) == ("failed", ())
    assert outcome.reason == "none of the 2 candidates survived relaxation: 2 x volume collapsed"


def test_a_formula_without_candidates_fails_with_the_reason_of_the_search():
    outcome = rank_formula(known.empty_pool(), RankingSettings(), load_ranker(), known.candidate_pools()[-1])
    assert (outcome.status, outcome.reason) == ("failed", "all searches ended without a valid crystal")


def test_the_stage_writes_one_outcome_a_formula_and_readable_cifs(tmp_path):
    inputs = write_inputs(tmp_path, top_k=2)
    run_rank(**inputs)
    outcomes = read_records(tmp_path / "ranking" / "outcomes.jsonl", FormulaOutcome)
    assert [(o.formula_id, o.status, len(o.structures)) for o in outcomes] == [
        ("NaCl", "done", 2),
        ("SrTiO3", "done", 1),
        ("XeF2", "failed", 0),
    ]
    for outcome in outcomes:
        for ranked in outcome.structures:
            read = Structure.from_file(tmp_path / "ranking" / ranked.cif)
            assert read.composition.reduced_formula == ranked.formula
            assert find_symmetry(known.from_structure(read), 0.01).space_group == ranked.space_group
    with open(tmp_path / "ranking" / "ranking.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [(r["id"], r["rank"], r["space_group_symbol"]) for r in rows] == [
        ("NaCl", "1", "Fm-3m"),
        ("NaCl", "2", "Pm-3m"),
        ("SrTiO3", "1", "Pm-3m"),
    ]
    assert float(rows[0]["a_ang"]) == pytest.approx(5.64, abs=0.01)
    assert float(rows[0]["density_g_per_cm3"]) == pytest.approx(2.16, abs=0.02)
    assert float(rows[2]["volume_ang3_per_atom"]) == pytest.approx(3.905**3 / 5, abs=1e-6)
    assert "XeF2,XeF2,all searches ended" in (tmp_path / "ranking" / "failed.csv").read_text()
    summaries = read_records(tmp_path / "ranking" / "candidates.jsonl", CandidateSummary)
    assert [s.rank for s in summaries] == [1, 1, 2, None, 1, None, 1]


def test_the_same_input_gives_the_same_bytes_and_no_stale_files(tmp_path):
    inputs = write_inputs(tmp_path)
    run_rank(**inputs)
    names = sorted(p.relative_to(tmp_path) for p in (tmp_path / "ranking").rglob("*.*"))
    first = [(tmp_path / n).read_bytes() for n in names]
    run_rank(**inputs)
    assert [(tmp_path / n).read_bytes() for n in names] == first
    write_json(inputs["settings_file"], RankingSettings(top_k=1).model_dump(mode="json"))
    run_rank(**inputs)
    assert [p.name for p in sorted((tmp_path / "ranking").rglob("*.cif"))] == ["NaCl_1.cif", "SrTiO3_1.cif"]


def test_a_lost_formula_is_an_error_that_names_it(tmp_path):
    inputs = write_inputs(tmp_path, pools=[known.salt_pool(), known.empty_pool()])
    with pytest.raises(StoreError, match="1 of 3 accepted formulas have no relaxed pool: SrTiO3"):
        run_rank(**inputs)


def test_a_pool_of_an_unlisted_formula_is_an_error_that_names_it(tmp_path):
    inputs = write_inputs(tmp_path, ids=["NaCl", "SrTiO3"])
    with pytest.raises(StoreError, match="XeF2"):
        run_rank(**inputs)


def test_a_formula_in_two_files_is_an_error(tmp_path):
    inputs = write_inputs(tmp_path)
    write_records(tmp_path / "again.jsonl", RelaxedPool, [known.salt_pool()])
    inputs["relaxed_files"].append(tmp_path / "again.jsonl")
    with pytest.raises(StoreError, match="NaCl is also in"):
        run_rank(**inputs)


def test_a_pool_becomes_an_example_with_its_right_crystal_marked():
    asked = []

    def is_right(crystal):
        asked.append(crystal)
        return match_rms(crystal, known.rocksalt(), STRICT) is not None

    example = rank_example(known.salt_pool(), is_right, 0.1)
    assert example.right.tolist() == [True, True, False, False, True] and len(asked) == 3
    assert np.allclose(np.exp(example.log_weight), [0.5, 0.5, 1, 1, 1])
    assert rank_example(known.empty_pool(), is_right, 0.1) is None


def test_features_are_finite_and_centred_on_the_lowest_energy():
    pool = known.salt_pool().candidates[:5]
    table = pool_features(pool, [225, 225, 221, 216, 225], [0, 0, 1, 2, 0])
    assert table.shape == (5, len(FEATURES)) and np.isfinite(table).all()
    assert table[4, NAMES.index("energy_above_ev_per_atom")] == 0.0
    assert table[:, NAMES.index("symmetry_kept")].tolist() == [1, 1, 1, 1, 0]
    assert np.allclose(np.exp(table[:, NAMES.index("log_found_again")]), [3, 3, 1, 1, 3])


def _invented_pools(n_pools: int, seed: int) -> list[RankExample]:
    """Pools drawn from the model itself: only label and energy matter; some lack the answer."""
    rng = np.random.default_rng(seed)
    pools = []
    for _ in range(n_pools):
        features = np.zeros((8, len(FEATURES)))
        features[:, NAMES.index("label_log_prob")] = -rng.exponential(2.0, 8)
        features[:, NAMES.index("energy_above_ev_per_atom")] = rng.exponential(0.04, 8)
        features[:, NAMES.index("volume_change")] = rng.random(8)
        scores = features[:, 0] * 0.8 - 40.0 * features[:, NAMES.index("energy_above_ev_per_atom")]
        chances = np.exp(np.append(scores, -1.5))
        answer = rng.choice(9, p=chances / chances.sum())
        pools.append(RankExample(features, np.zeros(8), np.arange(8) == answer))
    return pools


def test_fitting_recovers_the_coefficients_that_made_the_pools():
    ranker = fit_ranker(_invented_pools(3000, 1), ridge=0.01)
    fitted = dict(ranker.coefficients)
    assert fitted["label_log_prob"] == pytest.approx(0.8, abs=0.2)
    assert fitted["energy_above_ev_per_atom"] == pytest.approx(-40.0, abs=8.0)
    assert ranker.none_score == pytest.approx(-1.5, abs=0.3)
    assert all(value * feature.sign >= 0 for value, feature in zip(ranker.vector, FEATURES))
    assert fitted["volume_change"] == pytest.approx(0.0, abs=0.2)


def test_fitted_probabilities_are_calibrated_on_new_pools():
    ranker = fit_ranker(_invented_pools(2000, 1), ridge=0.01)
    claimed, right = [], []
    for pool in _invented_pools(2000, 2):
        log_prob, _ = log_probabilities(pool.features, pool.log_weight, ranker)
        best = int(np.argmax(log_prob))
        claimed.append(np.exp(log_prob[best]))
        right.append(pool.right[best])
    assert np.mean(claimed) == pytest.approx(np.mean(right), abs=0.03)


def test_a_ranker_with_a_wrong_sign_or_other_features_is_refused(tmp_path):
    ranker = load_ranker()
    save_ranker(tmp_path / "same.json", ranker)
    assert load_ranker(tmp_path / "same.json") == ranker
    flipped = tuple((n, -v) for n, v in ranker.coefficients)
    save_ranker(tmp_path / "bad.json", dataclasses.replace(ranker, coefficients=flipped))
    with pytest.raises(StoreError, match="wrong sign"):
        load_ranker(tmp_path / "bad.json")
    save_ranker(tmp_path / "short.json", dataclasses.replace(ranker, coefficients=ranker.coefficients[:3]))
    with pytest.raises(StoreError, match="fit the ranker again"):
        load_ranker(tmp_path / "short.json")


def test_fitting_without_pools_is_refused():
    with pytest.raises(ValueError, match="at least one pool"):
        fit_ranker([])

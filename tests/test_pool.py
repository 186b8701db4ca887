"""The pool: what goes on to relaxation, and what does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from known_tasks import known_crystal, known_task
from mapcsp.errors import StoreError
from mapcsp.ga.distinct import first_of_each, invariants
from mapcsp.ga.pairs import label_pairs
from mapcsp.ga.pool import pool_candidates, run_pool, shortest_distance_ratio
from mapcsp.ga.reconstruct import reconstruct_task
from mapcsp.ga.score import candidate_score
from mapcsp.records import Candidate, CandidatePool, Crystal, Label, TaskResult
from mapcsp.settings import PoolSettings, ReconstructSettings
from mapcsp.store import read_records, write_json, write_records

RUTILE = "rutile TiO2"


def candidate(label: str, log_prob: float, x: float, number: int = 0, scale: float = 1.0) -> Candidate:
    """A TiO2 crystal in P4_2/mnm, oxygen at (x, x, 0) for label F, else fixed; cell `scale` times rutile's."""
    (result,) = reconstruct_task(
        known_task(RUTILE, with_seed=True), ReconstructSettings(max_evaluations=0)
    ).candidates
    cell = result.cell * np.array([scale, scale, scale, 1, 1, 1])
    geometry = label_pairs(Label.from_key(label)).geometry
    free = np.full(geometry.n_free, x)
    return replace(
        result,
        id=f"{label}_{number}",
        label=Label.from_key(label),
        label_log_prob=log_prob,
        cell=cell,
        free_coords=free,
        crystal=geometry.decode(cell, free),
    )


def result_of(task_id: str, *candidates: Candidate) -> TaskResult:
    return TaskResult(task_id, "TiO2", 136, "done", "", 10, candidates)


F, D = "136:O-f,Ti-a", "136:O-d,Ti-a"


def test_likely_labels_come_first_and_each_gives_its_best_before_second_ones() -> None:
    first = result_of(
        "a", candidate(F, -0.5, 0.305), candidate(F, -0.5, 0.27, 1), candidate(F, -0.5, 0.34, 2)
    )
    second = result_of("b", candidate(D, -1.5, 0.30))
    pool = pool_candidates([second, first], PoolSettings(size=3))
    assert [c.id for c in pool.candidates] == [f"{F}_0", f"{D}_0", f"{F}_1"]
    assert [c.label_rank for c in pool.candidates] == [0, 1, 0]
    assert dict(pool.dropped) == {"clash": 0, "duplicate": 0, "beyond_size": 1}


def test_very_likely_labels_give_several_before_unlikely_ones() -> None:
    first = result_of("a", candidate(F, -0.1, 0.305), candidate(F, -0.1, 0.27, 1))
    pool = pool_candidates([first, result_of("b", candidate(D, -8.0, 0.30))], PoolSettings())
    assert [c.label.key for c in pool.candidates] == [F, F, D]


def test_the_score_falls_with_the_position() -> None:
    scores = [candidate_score(-1.0, k, 0.0) for k in range(4)]
    assert scores[0] == -1.0
    assert candidate_score(-1.0, 0, 1.0) > scores[0]
    assert (np.diff(scores) < 0).all()


def test_duplicates_are_dropped_whatever_their_search() -> None:
    pool = pool_candidates(
        [result_of("a", candidate(F, -0.5, 0.305)), result_of("b", candidate(F, -0.5, 0.306, 1))],
        PoolSettings(),
    )
    assert len(pool.candidates) == 1
    assert dict(pool.dropped)["duplicate"] == 1


def test_a_phase_near_a_more_symmetric_one_is_kept_and_a_copy_of_it_is_not() -> None:
    """Rutile's orthorhombic distortion (Pnnm): a shift of 0.0005 is rounding, one of 0.025 (0.16 Å) the CaCl2 type."""
    first = candidate(F, -0.5, 0.305)
    for name, shift, kept in [("copy", 0.0005, 1), ("other", 0.025, 2)]:
        label = Label.from_key("58:O-g,Ti-a")
        geometry = label_pairs(label).geometry
        free = np.array([0.305 + shift, 0.305 - shift])
        cell = first.cell
        other = replace(
            first,
            id=name,
            label=label,
            label_log_prob=-1.5,
            free_coords=free,
            crystal=geometry.decode(cell, free),
        )
        pool = pool_candidates([result_of("a", first), result_of("b", other)], PoolSettings())
        assert len(pool.candidates) == kept
        same_group = replace(other, label=first.label, free_coords=np.array([0.305 + shift / 2]))
        assert (
            len(
                pool_candidates(
                    [result_of("a", first), result_of("b", same_group)], PoolSettings()
                ).candidates
            )
            == 1
        )


def test_two_names_of_one_crystal_are_duplicates() -> None:
    """Oxygen on 4f or 4g of P4_2/mnm: a change of origin exchanges them where titanium is on 2a."""
    results = [
        result_of("a", candidate(F, -0.5, 0.305)),
        result_of("b", candidate("136:O-g,Ti-a", -1.5, 0.305)),
    ]
    assert [c.label.key for c in pool_candidates(results, PoolSettings()).candidates] == [F]


def test_clashing_cells_are_dropped_with_a_reason() -> None:
    pool = pool_candidates([result_of("a", candidate(F, -0.5, 0.02))], PoolSettings())
    assert pool.status == "failed"
    assert "too close" in pool.reason
    assert dict(pool.dropped)["clash"] == 1


def test_own_images_clash_too() -> None:
    crystal = Crystal(np.diag([1.2, 4.0, 4.0]), ("Ti",), np.zeros((1, 3)))
    assert shortest_distance_ratio(crystal) == pytest.approx(1.2 / 3.2)
    assert shortest_distance_ratio(known_crystal(RUTILE)) == pytest.approx(1.949 / 2.26, abs=0.01)


def test_the_order_of_the_searches_does_not_matter() -> None:
    results = [result_of("a", candidate(F, -0.5, 0.305)), result_of("b", candidate(D, -0.5, 0.30))]
    one, other = (pool_candidates(r, PoolSettings()) for r in (results, results[::-1]))
    assert [c.id for c in one.candidates] == [c.id for c in other.candidates]


def test_invariants_ignore_a_change_of_origin_and_tell_crystals_apart() -> None:
    task = known_task("baddeleyite ZrO2")
    pairs = label_pairs(task.labels[0].label)
    free = np.array([0.07, 0.332, 0.345, 0.449, 0.757, 0.479, 0.275, 0.04, 0.208])
    people = np.stack(
        [free, np.mod(free + 0.5, 1), np.mod(-free, 1), np.mod(free + 0.1 * np.sin(np.arange(9)), 1)]
    )
    rows = invariants(pairs, np.repeat(task.labels[0].cell[None], 4, 0), people)
    assert np.abs(rows[1:3] - rows[0]).max() < 1e-6
    assert first_of_each(rows) == [0, 3]


def test_formulas_are_not_mixed() -> None:
    other = replace(result_of("b"), formula_id="ZnS")
    with pytest.raises(ValueError, match="TiO2"):
        pool_candidates([result_of("a"), other], PoolSettings())


def test_a_job_writes_one_pool_a_formula_with_or_without_results(tmp_path: Path) -> None:
    write_records(tmp_path / "r.jsonl", TaskResult, [result_of("a", candidate(F, -0.5, 0.305))])
    write_json(tmp_path / "pool.json", PoolSettings().model_dump(mode="json"))
    run_pool([tmp_path / "r.jsonl"], ["X", "TiO2"], tmp_path / "pool.json", tmp_path / "out.jsonl")
    empty, full = read_records(tmp_path / "out.jsonl", CandidatePool)
    assert (empty.formula_id, empty.status) == ("X", "failed")
    assert (full.formula_id, full.status, len(full.candidates)) == ("TiO2", "done", 1)


def test_a_task_in_two_files_is_an_error(tmp_path: Path) -> None:
    for name in ("r.jsonl", "s.jsonl"):
        write_records(tmp_path / name, TaskResult, [result_of("a")])
    write_json(tmp_path / "pool.json", PoolSettings().model_dump(mode="json"))
    with pytest.raises(StoreError, match=r"s\.jsonl: task a is also in"):
        run_pool(
            [tmp_path / "r.jsonl", tmp_path / "s.jsonl"],
            ["TiO2"],
            tmp_path / "pool.json",
            tmp_path / "o.jsonl",
        )


def test_larger_cells_take_no_place_from_smaller_ones() -> None:
    small = [candidate(F, -3.0, x, n) for n, x in enumerate((0.305, 0.27, 0.34))]
    large = replace(candidate(D, -0.1, 0.30), z=4)
    alone = pool_candidates([result_of("a", *small)], PoolSettings(size=2))
    beside = pool_candidates([result_of("a", *small), result_of("b", large)], PoolSettings(size=2))
    assert len(alone.candidates) == 2
    assert [c.z for c in beside.candidates] == [4, 2, 2]
    assert [c.id for c in beside.candidates[1:]] == [c.id for c in alone.candidates]

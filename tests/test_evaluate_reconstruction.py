"""The evaluation of the reconstruction: what its rows mean, and that it judges as it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from known_tasks import known_crystal, known_task
from mapcsp.ga.pool import shortest_distance_ratio
from mapcsp.records import SymmetryPrediction
from mapcsp.settings import ReconstructSettings, Settings
from mapcsp.symmetry.labels import encode_canonical
from mapcsp.training.encoded import encode_known
from mapcsp.training.reconstruction.evaluate import TERM_WEIGHTS, Evaluation, ablations, summarise
from mapcsp.training.reconstruction.trials import (
    Target,
    Trial,
    judge,
    predict_from_formula,
    random_crystals,
    rebuild,
)
from mapcsp.training.tables import KnownCrystal

RUTILE, BADDELEYITE = "rutile TiO2", "baddeleyite ZrO2"
FAST = Settings(reconstruct=ReconstructSettings(max_evaluations=2000))


def target_of(name: str) -> Target:
    known = KnownCrystal(name, name.split()[1], known_crystal(name), None, None)
    (encoded,), _ = encode_known([known])
    return Target(known, encoded)


def prediction_of(name: str, with_seed: bool) -> tuple[SymmetryPrediction, tuple]:
    task = known_task(name, spread=0.03, with_seed=with_seed)
    (label,) = task.labels
    number = label.label.space_group
    return SymmetryPrediction("x", task.formula, ((label.z, 1.0),), (label,), ((number, 1.0),)), task.maps


@pytest.mark.parametrize("name", [RUTILE, BADDELEYITE])
def test_true_maps_rebuild_known_crystals(name: str) -> None:
    trial = rebuild(target_of(name), "maps", FAST)
    assert trial.rank == 0
    assert trial.rms == pytest.approx(0, abs=0.02)
    assert trial.volume_error == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("known", ["contacts", "contacts, cmcrystal"])
def test_true_contacts_rebuild_rutile(known) -> None:
    trial = rebuild(target_of(RUTILE), known, FAST)
    assert trial.rank == 0
    # Contacts leave the coordinate free within a range.
    assert 1e-3 < trial.rms < 0.2


def test_an_answer_counts_at_its_place() -> None:
    target = target_of(RUTILE)
    truth, other = target.known.crystal, known_crystal("pyrite FeS2")
    assert judge(target, [other, truth, truth], 5, 0.0).rank == 1
    missed = judge(target, [other], 5, 0.0)
    assert (missed.rank, missed.rms) == (None, None)
    assert judge(target, [], 0, 0.0).volume_error is None


def test_figures_are_shares_within_each_rank() -> None:
    trials = [Trial("a", 0, 0.1, 0.0, 20, 10, 1.0), Trial("b", 4, 0.3, 0.2, 20, 30, 3.0)]
    trials += [Trial("c", 19, 0.2, -0.1, 20, 20, 2.0), Trial("d", None, None, None, 0, 0, 0.0)]
    figures = summarise(trials)
    assert [figures[f"match_rate_at_{k}"] for k in (1, 5, 20)] == [0.25, 0.5, 0.75]
    assert (figures["rms_median"], figures["volume_mre"]) == (0.2, 0.1)
    assert (figures["evaluations_mean"], figures["search_core_s_mean"]) == (15, 1.5)


def test_sources_differ_in_what_they_know() -> None:
    target = target_of(RUTILE)
    prediction, maps = prediction_of(RUTILE, with_seed=True)
    trials = {
        source: predict_from_formula(target, source, prediction, maps, FAST)
        for source in ("default", "prototypes", "search_without_seeds", "random_coordinates")
    }
    assert trials["prototypes"].evaluations == 1
    assert trials["random_coordinates"].evaluations == 0
    assert min(trials[s].evaluations for s in ("default", "search_without_seeds")) > 100
    assert [trials[s].rank for s in ("default", "prototypes", "search_without_seeds")] == [0, 0, 0]
    assert trials["default"].rms < trials["prototypes"].rms


def test_random_crystals_have_the_label_and_no_clash() -> None:
    prediction, _ = prediction_of(BADDELEYITE, with_seed=False)
    (crystal,) = random_crystals(prediction, FAST)
    assert encode_canonical(crystal).label.space_group == 14
    assert shortest_distance_ratio(crystal) >= FAST.pool.min_distance_ratio
    elsewhere = replace(prediction, space_groups=((1, 1.0),))
    assert random_crystals(elsewhere, FAST) == []


def test_each_term_is_switched_off_and_left_alone_once() -> None:
    rows = ablations(ReconstructSettings())
    assert len(rows) == 2 + 2 * len(TERM_WEIGHTS)
    on = {name: {t for t in TERM_WEIGHTS if getattr(search, t) > 0} for name, search in rows.items()}
    assert on["all terms"] == set(TERM_WEIGHTS)
    for term in TERM_WEIGHTS:
        assert on[f"without {term}"] == set(TERM_WEIGHTS) - {term}
        assert on[f"{term} alone"] == {term}


def test_a_finished_row_is_not_run_again(tmp_path: Path) -> None:
    targets = [target_of(RUTILE), target_of(BADDELEYITE)]
    trial = Trial("a", 0, 0.1, 0.0, 1, 1, float(np.pi))
    evaluation = Evaluation(targets, FAST, hidden=False, work_dir=tmp_path)
    first = evaluation.row("row", 2, lambda t: trial if t.known.material_id == RUTILE else None)
    again = Evaluation(targets, FAST, hidden=False, work_dir=tmp_path).row("row", 2, lambda t: pytest.fail())
    assert first == again == [trial]

from pathlib import Path

import pytest
from known_structures import KNOWN
from mapcsp.benchmark.judge import judge_pool, summarise
from mapcsp.benchmark.pools import pair_targets, relaxed_pools
from mapcsp.ranking.model import load_ranker
from mapcsp.relax.fetch import default_weights_path
from mapcsp.settings import Settings, parse_settings
from mapcsp.training.encoded import encode_known
from mapcsp.training.tables import KnownCrystal

SMALL: Settings = parse_settings(
    {
        "reconstruct": {"max_evaluations": 200, "population": 20},
        "pool": {"size": 3},
        "relax": {"max_steps": 5},
        "symmetry": {"n_labels": 4},
    }
)


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    if not default_weights_path().exists():
        pytest.skip("needs the M3GNet weights: mapcsp fetch-potential")
    names = ("NaCl", "CaF2")
    known = [KnownCrystal(name, name, KNOWN[name](), None, 0.0) for name in names]
    encoded, failed = encode_known(known, 1e-3)
    assert not failed
    targets = pair_targets(known, encoded)
    folder = tmp_path_factory.mktemp("pools")
    pools = relaxed_pools(targets, SMALL, folder, hidden=False)
    again = relaxed_pools(targets, SMALL, folder, hidden=False)
    assert [p.formula_id for p in again] == [p.formula_id for p in pools] == list(names)
    ranker = load_ranker()
    return [judge_pool(p, t, ranker, SMALL.ranking) for p, t in zip(pools, targets)], folder


def test_rock_salt_and_fluorite_are_found_from_their_formulas(judged) -> None:
    results, _ = judged
    assert [j.cause for j in results] == ["found", "found"]
    assert all(j.space_group_found and j.on_hull for j in results)


def test_the_summary_counts_every_crystal_and_gives_intervals(judged) -> None:
    results, _ = judged
    figures = summarise(results)
    assert figures["crystals"] == figures["on_hull_crystals"] == 2
    rates = figures["probability_loose"]
    assert rates["match_rate_at_1"] == rates["match_rate_at_20"] == 1.0
    low, high = rates["match_rate_at_1_interval"]
    # Wilson's interval of 2 out of 2: 1 / (1 + 1.96² / 2) = 0.342.
    assert low == pytest.approx(0.342, abs=1e-3)
    assert high == 1.0
    assert figures["causes"] == {"found": 2}


def test_finished_chunks_are_kept_in_files(judged) -> None:
    _, folder = judged
    assert [f.name for f in sorted(Path(folder).iterdir())] == ["00000.jsonl"]

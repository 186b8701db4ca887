"""The score that deals the places of a pool: its values, worked by hand."""

from __future__ import annotations

import pytest
from mapcsp.ga.score import candidate_score


@pytest.mark.parametrize(
    ("position", "score"),
    # -0.5 for the label, 0.3 for each of two units of fitness; then 3 nats for the second place, 1.2 for each further one.
    [(0, 0.1), (1, -2.9), (2, -4.1), (3, -5.3), (10, -13.7)],
)
def test_a_candidate_pays_for_its_place_among_those_of_its_label(position: int, score: float) -> None:
    assert candidate_score(-0.5, position, 2.0) == pytest.approx(score, abs=1e-12)


def test_the_fitness_tells_candidates_of_one_place_apart() -> None:
    assert candidate_score(-1.0, 0, -4.0) == pytest.approx(-2.2, abs=1e-12)
    assert candidate_score(0.0, 2, 0.0) == pytest.approx(-4.2, abs=1e-12)

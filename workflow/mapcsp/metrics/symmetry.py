"""Symmetry predictions: how often the right answer is among the first few."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

from mapcsp.symmetry.cells import bravais_lattice

K = TypeVar("K", bound=Hashable)


def top_k_accuracy(ranked: Sequence[Sequence[K]], true: Sequence[K], k: int) -> float:
    """Share of cases whose true answer is among the first k distinct answers.

    ranked: for each case its answers, best first; repeated answers count once. true: (cases,).
    Raises ValueError without cases, for unequal lengths or k < 1.
    """
    if not true or len(ranked) != len(true) or k < 1:
        raise ValueError(f"got {len(ranked)} rankings for {len(true)} answers at k = {k}")
    return sum(rank_of_truth(answers, answer, k) is not None for answers, answer in zip(ranked, true)) / len(
        true
    )


def rank_of_truth(answers: Sequence[K], true: K, k: int | None = None) -> int | None:
    """Place of the true answer among distinct answers, from 1; None if it is absent, or beyond k."""
    for place, answer in enumerate(dict.fromkeys(answers), start=1):
        if k is not None and place > k:
            return None
        if answer == true:
            return place
    return None


def ranked_by_probability(probabilities: Sequence[tuple[K, float]]) -> list[K]:
    """Distinct answers, best first, after the probabilities of equal answers were added; ties keep their order."""
    totals: dict[K, float] = {}
    for answer, probability in probabilities:
        totals[answer] = totals.get(answer, 0.0) + probability
    return sorted(totals, key=lambda answer: -totals[answer])


def ranked_bravais(space_groups: Sequence[tuple[int, float]]) -> list[str]:
    """Bravais lattices (Pearson's letters, `cF`), best first, from (space group, probability)."""
    return ranked_by_probability([(bravais_lattice(number), p) for number, p in space_groups])

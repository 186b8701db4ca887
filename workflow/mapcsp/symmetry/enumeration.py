"""Labels that no training crystal has: enumerated from Wyckoff positions, with a smoothed prior.

Any composition that a space group can hold gets an answer, in the order of how usual its positions are.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mapcsp.records import Label
from mapcsp.symmetry.labels import canonical_label
from mapcsp.symmetry.memory import LabelMemory
from mapcsp.symmetry.placement import named, rank_names
from mapcsp.symmetry.wyckoff import space_group

# A beam this wide holds every assignment worth searching; more only adds improbable ones.
BEAM = 24
# ASSUME: each further orbit makes a crystal rarer by e (Pauling's rule of parsimony); the counts decide where there are any.
LOG_ORBIT_COST = -1.0


@dataclass(frozen=True, eq=False)
class LetterPrior:
    """How often training crystals use a space group (231,) and, in it, each Wyckoff letter; natural logs, smoothed."""

    log_group: np.ndarray
    log_letter: tuple[dict[str, float], ...]


def letter_prior(memory: LabelMemory) -> LetterPrior:
    """Count space groups and letters over the examples of a memory; each count starts at 1/2."""
    groups = np.full(231, 0.5)
    letters = [{p.letter: 0.5 for p in space_group(n).positions} if n else {} for n in range(231)]
    support = np.bincount(memory.example_label, minlength=len(memory.labels))
    for label, count in zip(memory.labels, support):
        groups[label.space_group] += count
        for role in label.roles:
            for letter in role:
                letters[label.space_group][letter] += count
    logs = []
    for table in letters:
        total = sum(table.values()) or 1.0
        logs.append({k: float(np.log(v / total)) for k, v in table.items()})
    return LetterPrior(np.log(groups / groups.sum()), tuple(logs))


def enumerate_labels(
    counts: tuple[tuple[str, int], ...], number: int, prior: LetterPrior, limit: int
) -> list[tuple[Label, float]]:
    """Most usual labels of a cell content in one space group.

    counts: (element, atoms in the primitive cell). Returns (canonical label, natural log of the unnormalised prior),
    best first, at most `limit`; empty if the space group cannot hold the content.
    """
    elements, atoms = zip(*sorted(counts))
    return [(named(p.label, elements), p.log_prior) for p in enumerate_patterns(atoms, number, prior, limit)]


@dataclass(frozen=True, eq=False)
class EnumeratedPattern:
    """A label without a training crystal; elements are ranks (see `placement`). key: of the label. log_prior: natural."""

    label: Label
    key: str
    log_prior: float


@lru_cache(maxsize=50_000)
def enumerate_patterns(
    atoms: tuple[int, ...], number: int, prior: LetterPrior, limit: int
) -> tuple[EnumeratedPattern, ...]:
    """`enumerate_labels` for elements known by their alphabetical order alone; atoms: of each, in the primitive cell."""
    counts = zip(rank_names(len(atoms)), atoms)
    beam: list[tuple[float, tuple[tuple[str, str], ...], frozenset[str]]] = [(0.0, (), frozenset())]
    # Elements with few atoms have fewer choices: they go first, so that the beam is not spent on hopeless starts.
    for element, count in sorted(counts, key=lambda p: (p[1], p[0])):
        ways = [
            (gain, tuple((element, w) for w in letters), taken)
            for letters, gain, taken in _splits(count, number, prior)
        ]
        grown = [
            (score + gain, orbits + added, used | taken)
            for score, orbits, used in beam
            for gain, added, taken in ways
            if used.isdisjoint(taken)
        ]
        beam = heapq.nlargest(BEAM, grown)
    # The beam is sorted, so the first form of a label that turns up is its most usual one; names are costly, so stop early.
    best: dict[Label, float] = {}
    for score, orbits, _ in beam:
        if len(best) == limit:
            break
        best.setdefault(
            canonical_label(Label(number, tuple(sorted(orbits)))), float(prior.log_group[number] + score)
        )
    return tuple(EnumeratedPattern(label, label.key, score) for label, score in best.items())


@lru_cache(maxsize=20_000)
def _splits(count: int, number: int, prior: LetterPrior) -> tuple[tuple[str, float, frozenset[str]], ...]:
    """Ways to place `count` atoms of one element: (letters, natural log prior, letters that hold one orbit only).

    The best BEAM of them, best first.
    """
    group = space_group(number)
    logs = prior.log_letter[number]
    fixed = frozenset(p.letter for p in group.positions if p.n_free == 0)
    ways: list[dict[str, float]] = [{} for _ in range(count + 1)]
    ways[0][""] = 0.0
    # Positions in turn, each taken any number of times (once if it has no freedom): every multiset appears once.
    for position in group.positions:
        gain = logs[position.letter] + LOG_ORBIT_COST
        for atoms in range(position.multiplicity, count + 1):
            if position.n_free == 0:
                source = {
                    k: v for k, v in ways[atoms - position.multiplicity].items() if position.letter not in k
                }
            else:
                source = ways[atoms - position.multiplicity]
            for letters, score in _best(source):
                ways[atoms].setdefault(letters + position.letter, score + gain)
    return tuple((letters, score, fixed.intersection(letters)) for letters, score in _best(ways[count]))


def _best(ways: dict[str, float]) -> Iterable[tuple[str, float]]:
    return heapq.nlargest(BEAM, ways.items(), key=lambda w: (w[1], w[0]))

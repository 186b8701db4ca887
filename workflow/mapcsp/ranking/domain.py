"""Whether a formula is of a kind that the networks have learned from.

A label's probability, and so the ranking's, is only as good as the examples behind it. For formulas of another kind the
chance that no candidate is right ("none of these") is raised by what such formulas showed when they were predicted unseen.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from math import gcd

from pymatgen.core import Composition

# Elements that bond with each other as molecules, noble gases included; boron, silicon and other metalloids make networks.
NONMETALS = frozenset(
    ["H", "He", "C", "N", "O", "F", "Ne", "P", "S", "Cl", "Ar", "Se", "Br", "Kr", "I", "Xe"]
)
# An element with fewer training formulas than this has no neighbourhood of its own: all others have about a hundred.
FEW_FORMULAS = 30


@dataclass(frozen=True)
class Domain:
    """What the networks have learned from, and how often formulas of other kinds go wrong.

    element_formulas: (symbol, training formulas with it). stoichiometry_formulas: (reduced amounts, ascending, such as
    `1:1:3`, training formulas with them). none_shift: (kind, natural log of the factor by which the odds of "none of
    these" are higher for such a formula than the score says).
    """

    element_formulas: tuple[tuple[str, int], ...]
    stoichiometry_formulas: tuple[tuple[str, int], ...]
    none_shift: tuple[tuple[str, float], ...]

    @cached_property
    def _elements(self) -> dict[str, int]:
        return dict(self.element_formulas)

    @cached_property
    def _stoichiometries(self) -> dict[str, int]:
        return dict(self.stoichiometry_formulas)

    def outside(self, formula: str) -> tuple[Outside, ...]:
        """In which respects a formula is unlike those that the networks learned from; empty for one like them."""
        amounts = reduced_amounts(formula)
        found = [
            Outside("few_examples", _few_examples(element, self._elements.get(element, 0)))
            for element in amounts
            if self._elements.get(element, 0) < FEW_FORMULAS
        ]
        if len(amounts) == 1:
            found.append(Outside("single_element", "single element: the networks were trained on compounds"))
        elif set(amounts) <= NONMETALS:
            text = "nonmetals alone: most are molecular crystals, whose packing the training crystals hardly show"
            found.append(Outside("nonmetals", text))
        key = stoichiometry_key(tuple(amounts.values()))
        if key not in self._stoichiometries:
            found.append(Outside("new_stoichiometry", f"no training crystal has the stoichiometry {key}"))
        return tuple(found)

    def shift_of(self, outside: tuple[Outside, ...]) -> float:
        """By how much the score of "none of these" rises: the largest of the kinds', 0 for a formula inside."""
        shifts = dict(self.none_shift)
        return max((shifts[one.kind] for one in outside), default=0.0)


KINDS = {
    "single_element": "a single element",
    "nonmetals": "compounds of nonmetals alone, mostly molecular crystals",
    "few_examples": f"with an element that fewer than {FEW_FORMULAS} training formulas have",
    "new_stoichiometry": "of a stoichiometry that no training formula has",
}


@dataclass(frozen=True)
class Outside:
    """One respect in which a formula is unlike those that were learned from. kind: of KINDS; reason: in plain words."""

    kind: str
    reason: str


def reduced_amounts(formula: str) -> dict[str, int]:
    """Atoms of each element in the smallest formula unit: one for an element, also where its name is `N2`."""
    amounts = {e: round(n) for e, n in Composition(formula).get_el_amt_dict().items()}
    unit = gcd(*amounts.values())
    return {element: n // unit for element, n in amounts.items()}


def stoichiometry_key(amounts: tuple[int, ...]) -> str:
    """Reduced amounts as text, ascending, such as `1:1:3` for any perovskite."""
    return ":".join(map(str, sorted(amounts)))


def count_formulas(formulas: list[dict[str, int]]) -> tuple[Counter[str], Counter[str]]:
    """How many reduced formulas have each element, and each stoichiometry; formulas: amounts by element, each once."""
    elements: Counter[str] = Counter()
    stoichiometries: Counter[str] = Counter()
    for amounts in formulas:
        elements.update(amounts.keys())
        stoichiometries[stoichiometry_key(tuple(amounts.values()))] += 1
    return elements, stoichiometries


def _few_examples(element: str, count: int) -> str:
    known = (
        "no training formula has" if count == 0 else f"only {count} training formula{'s'[: count > 1]} with"
    )
    return f"{known} {element}"

"""Generates formula lists of any length: charge-neutral compositions, as a generative model might give, to try scale on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from math import gcd
from pathlib import Path
from random import Random

from mapcsp.composition import formula_text, order_amounts
from mapcsp.elements import SUPPORTED_ELEMENTS
from mapcsp.errors import UserError
from mapcsp.formulas.chemistry import smact_tests
from mapcsp.store import write_text

# ASSUME: one anion and one to three other elements, in shares roughly as in databases of inorganic crystals.
ANIONS = {
    "O": 8,
    "S": 4,
    "Se": 4,
    "Te": 3,
    "F": 3,
    "Cl": 3,
    "Br": 2,
    "I": 2,
    "N": 2,
    "P": 2,
    "As": 1,
    "Sb": 1,
}
CATIONS, CATION_WEIGHTS = (1, 2, 3), (1, 3, 1)
AMOUNTS, AMOUNT_WEIGHTS = (1, 2, 3, 4, 5, 6), (10, 6, 4, 2, 1, 1)
# With so many draws in a row that give nothing new, there are no formulas left.
MAX_DRAWS_WITHOUT_FORMULA = 200_000


def run_generate_formulas(count: int, seed: int, max_atoms: int, output: Path) -> None:
    """Write `count` formulas, one a line; raises UserError if there are not so many within `max_atoms`."""
    formulas = list(islice(neutral_formulas(seed, max_atoms), count))
    if len(formulas) < count:
        raise UserError(
            f"only {len(formulas)} formulas of at most {max_atoms} atoms were found, expected {count}; allow more atoms"
        )
    write_text(output, "".join(f"{line}\n" for line in ("formula", *formulas)))


def neutral_formulas(seed: int, max_atoms: int) -> Iterator[str]:
    """Yield different formulas that pass both of smact's tests, with at most `max_atoms` atoms in a formula unit.

    The n-th formula depends on the seed and `max_atoms` alone, so that a longer list begins with the shorter one.
    Ends when no new formula is found any more.
    """
    random = Random(seed)
    others = sorted(SUPPORTED_ELEMENTS - ANIONS.keys())
    seen: set[str] = set()
    failures = 0
    while failures < MAX_DRAWS_WITHOUT_FORMULA:
        failures += 1
        (n_cations,) = random.choices(CATIONS, CATION_WEIGHTS)
        elements = [*random.sample(others, n_cations), *random.choices(list(ANIONS), list(ANIONS.values()))]
        counts = random.choices(AMOUNTS, AMOUNT_WEIGHTS, k=len(elements))
        if sum(counts) > max_atoms or gcd(*counts) > 1:
            continue
        amounts = order_amounts(dict(zip(elements, counts)))
        formula = formula_text(amounts)
        if formula in seen or not smact_tests(amounts).electronegativity_balanced:
            continue
        seen.add(formula)
        failures = 0
        yield formula

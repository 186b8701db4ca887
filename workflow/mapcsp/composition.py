"""Formulas as stages exchange them: elements with whole amounts, without brackets, such as `YBa2Cu3O7`.

A formula is shown in the order of its author; whether two are of one compound is asked of `canonical_formula`.
"""

from __future__ import annotations

import re
from math import gcd

from mapcsp.elements import standard_order

Amounts = tuple[tuple[str, int], ...]
_PART = re.compile(r"([A-Z][a-z]?)([0-9]*)")


def order_amounts(amounts: dict[str, int]) -> Amounts:
    """Order elements as pymatgen does: by electronegativity, then by symbol."""
    return standard_order(amounts.items())


def formula_text(amounts: Amounts) -> str:
    """A formula without brackets, amounts of 1 left out, such as `CaH2O2`."""
    return "".join(f"{symbol}{n if n > 1 else ''}" for symbol, n in amounts)


def formula_amounts(formula: str) -> dict[str, int]:
    """Inverse of `formula_text`, in the order of the formula; an element may occur once."""
    return {symbol: int(n or 1) for symbol, n in _PART.findall(formula)}


def units_of(formula: str) -> int:
    """Reduced formula units in one unit of a formula: 2 for `Na2O2`, 1 for most."""
    return gcd(*formula_amounts(formula).values())


def canonical_formula(formula: str) -> str:
    """The reduced formula in pymatgen's order: one text for one compound, whoever wrote it."""
    amounts = formula_amounts(formula)
    units = gcd(*amounts.values())
    return formula_text(order_amounts({symbol: n // units for symbol, n in amounts.items()}))

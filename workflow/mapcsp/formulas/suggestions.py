"""What the author of a text that is no formula may have meant."""

from __future__ import annotations

import re
from fractions import Fraction
from math import gcd, lcm

from mapcsp.composition import formula_text
from mapcsp.elements import SUPPORTED_ELEMENTS

MAX_SUGGESTIONS = 3
MAX_LETTERS = 12
MAX_ELEMENTS_OF_WORD = 3
# A formula unit with more atoms is no advice; shares such as .333 are read to this precision.
MAX_ATOMS, MAX_DENOMINATOR, PRECISION = 24, 12, Fraction(1, 250)


def other_capitals(formula: str) -> tuple[str, ...]:
    """Readings of a text with other capitals: `NaCl` for `nacl`, `Co` and `CO` for `co`; those of fewest elements first."""
    pieces = re.findall(r"[A-Za-z]+|[^A-Za-z]+", formula)
    if sum(len(p) for p in pieces if p.isalpha()) > MAX_LETTERS:
        return ()
    readings: list[list[str]] = [[]]
    for piece in pieces:
        options = _symbols(piece) if piece[0].isalpha() else [[piece]]
        readings = [[*before, *option] for before in readings for option in options]
    # A word such as `silicon` can be cut into symbols, too, but nobody means them.
    most = MAX_LETTERS if re.search("[0-9]", formula) else MAX_ELEMENTS_OF_WORD
    texts = sorted((r for r in readings if 0 < len(r) <= most), key=lambda r: (len(r), r))
    return tuple("".join(r) for r in texts[:MAX_SUGGESTIONS])


def _symbols(letters: str) -> list[list[str]]:
    if not letters:
        return [[]]
    found = []
    for n in (2, 1):
        symbol = letters[:n].capitalize()
        if len(symbol) == n and symbol in SUPPORTED_ELEMENTS:
            found += [[symbol, *rest] for rest in _symbols(letters[n:])]
    return found


def whole_amounts(amounts: dict[str, Fraction]) -> str | None:
    """The least formula with whole amounts in the given ratio; None if it would be too large to be meant."""
    near = {symbol: n.limit_denominator(MAX_DENOMINATOR) for symbol, n in amounts.items()}
    if any(abs(near[s] - n) > PRECISION or not near[s] for s, n in amounts.items()):
        return None
    factor = lcm(*(n.denominator for n in near.values()))
    whole = {symbol: int(n * factor) for symbol, n in near.items()}
    divisor = gcd(*whole.values())
    whole = {symbol: n // divisor for symbol, n in whole.items()}
    return formula_text(tuple(whole.items())) if sum(whole.values()) <= MAX_ATOMS else None

"""Reads one chemical formula; strict, because a typing error that parses gives a wrong prediction unnoticed.

Stricter than pymatgen's Composition, which reads `NACL` as a compound with unknown species and `D2O` as water.
"""

from __future__ import annotations

import re
import unicodedata

from mapcsp.elements import SUPPORTED_ELEMENTS, SYMBOLS

MAX_CHARACTERS = 200
MAX_DIGITS = 4
# fmt: off
HEAVIER = frozenset((
    "Am", "Cm", "Bk", "Cf", "Es", "Fm", "Md", "No", "Lr", "Rf", "Db", "Sg", "Bh", "Hs", "Mt",
    "Ds", "Rg", "Cn", "Nh", "Fl", "Mc", "Lv", "Ts", "Og",
))
# fmt: on
# Subscript digits come with formulas copied from papers; any other look-alike is a mistake.
SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
CLOSING = {"(": ")", "[": "]", "{": "}"}
TOKEN = re.compile(
    r"(?P<symbol>[A-Z][a-z]?)|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<amount>[0-9]+)|(?P<space> +)"
)
HINTS = {
    "+": "charges and oxidation states are no part of a formula",
    "-": "charges and oxidation states are no part of a formula",
    ".": "amounts must be whole numbers; a disordered or partly occupied crystal is not supported",
    ",": "amounts must be whole numbers",
    "*": "write an adduct such as a hydrate as one formula",
    "·": "write an adduct such as a hydrate as one formula",
}


class RowError(ValueError):
    """Why one row of the list cannot be used: a sentence for its author."""


def parse_formula(text: str) -> dict[str, int]:
    """Read a formula such as `TiO2`, `Ti2O4`, `Ca(OH)2` or `Ti1 O2`; brackets may nest, subscripts are digits.

    Returns atoms of each element, every one supported. Raises RowError with a reason.
    """
    formula = text.translate(SUBSCRIPTS).strip()
    if not formula:
        raise RowError("the formula is empty; fill it in or delete the row")
    if len(formula) > MAX_CHARACTERS:
        raise RowError(
            f"the formula {shown(formula, 20)} has {len(formula)} characters, "
            f"expected at most {MAX_CHARACTERS}; fix the row or delete it"
        )
    amounts = _count_atoms(formula)
    unsupported = sorted(amounts.keys() - SUPPORTED_ELEMENTS)
    if unsupported:
        raise RowError(
            f"{shown(formula)} holds {', '.join(unsupported)}, which the potential was not trained on "
            "(supported: H to Pu without Po, At, Rn, Fr and Ra); delete the row"
        )
    return amounts


def shown(text: str, limit: int = 60) -> str:
    """Quote a text for a message: cut at `limit` characters, everything unprintable escaped."""
    return f"'{printable(text, limit)}'"


def printable(text: str, limit: int) -> str:
    """Cut a text at `limit` characters, saying how long it was; escape what has no glyph (controls, broken bytes)."""
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:limit])
    return escaped if len(text) <= limit else f"{escaped}… ({len(text)} characters)"


def _count_atoms(formula: str) -> dict[str, int]:
    """Scan left to right; each open bracket starts a group, which its closing bracket's amount multiplies."""
    groups: list[dict[str, int]] = [{}]
    brackets: list[str] = []
    pending: dict[str, int] | None = None  # The element or group that an amount may still follow.
    position = 0
    while position < len(formula):
        match = TOKEN.match(formula, position)
        if match is None:
            raise _fault(formula, _unexpected(formula, position))
        token = match[0]
        if match.lastgroup == "amount":
            if formula.startswith(".", match.end()):
                raise _fault(formula, _unexpected(formula, match.end()))
            if pending is None:
                raise _fault(
                    formula, f"the amount {shown(token, 8)} at character {position + 1} follows no element"
                )
            _add(groups[-1], pending, _amount(formula, token))
            pending = None
        else:
            if pending is not None:
                _add(groups[-1], pending, 1)
                pending = None
            if match.lastgroup == "symbol":
                pending = {_symbol(formula, token, position): 1}
            elif match.lastgroup == "open":
                brackets.append(token)
                groups.append({})
            elif match.lastgroup == "close":
                if not brackets or CLOSING[brackets.pop()] != token:
                    raise _fault(formula, f"unbalanced '{token}' at character {position + 1}")
                pending = groups.pop()
                if not pending:
                    raise _fault(formula, "empty brackets")
        position = match.end()
    if brackets:
        raise _fault(formula, f"unbalanced '{brackets[-1]}'")
    if pending is not None:
        _add(groups[-1], pending, 1)
    return groups[0]


def _add(group: dict[str, int], part: dict[str, int], times: int) -> None:
    for symbol, amount in part.items():
        group[symbol] = group.get(symbol, 0) + amount * times


def _amount(formula: str, digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise _fault(formula, f"the amount {shown(digits, 8)} is larger than any cell")
    if digits.startswith("0"):
        raise _fault(formula, f"the amount '{digits}' is zero or begins with a zero, expected 1, 2, 3, …")
    return int(digits)


def _symbol(formula: str, symbol: str, position: int) -> str:
    if symbol in SYMBOLS or symbol in HEAVIER:
        return symbol
    if symbol in ("D", "T"):
        raise _fault(formula, f"'{symbol}' is an isotope, and isotopes are not told apart; write H")
    raise _fault(formula, f"'{symbol}' at character {position + 1} is not an element")


def _unexpected(formula: str, position: int) -> str:
    character = formula[position]
    place = f"at character {position + 1}"
    if character in HINTS:
        return f"'{character}' {place}: {HINTS[character]}"
    if not character.isascii():
        name = unicodedata.name(character, "no name")
        code = f"U+{ord(character):04X}, {name}"
        return f"{shown(character)} {place} is {code}; type it in plain letters and digits"
    if character.islower():
        return f"'{character}' {place}: an element symbol begins with a capital letter"
    return f"unexpected {shown(character)} {place}"


def _fault(formula: str, why: str) -> RowError:
    return RowError(f"{shown(formula)} is not a formula ({why}); fix the row or delete it")

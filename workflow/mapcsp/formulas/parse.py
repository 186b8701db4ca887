"""Reads one chemical formula; strict, because a typing error that parses gives a wrong prediction unnoticed.

Stricter than pymatgen's Composition, which reads `NACL` as a compound with unknown species, `D2O` as water and
`CaSO4.2H2O` as SO4.2.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from math import lcm

from mapcsp.elements import SUPPORTED_ELEMENTS, SYMBOLS
from mapcsp.formulas.notation import adduct_parts, plain_notation
from mapcsp.formulas.suggestions import other_capitals, whole_amounts
from mapcsp.formulas.wording import RowError, not_a_formula, shown

MAX_CHARACTERS = 200
MAX_DIGITS = 4
# fmt: off
HEAVIER = frozenset((
    "Am", "Cm", "Bk", "Cf", "Es", "Fm", "Md", "No", "Lr", "Rf", "Db", "Sg", "Bh", "Hs", "Mt",
    "Ds", "Rg", "Cn", "Nh", "Fl", "Mc", "Lv", "Ts", "Og",
))
# fmt: on
CLOSING = {"(": ")", "[": "]", "{": "}"}
TOKEN = re.compile(
    r"(?P<symbol>[A-Z][a-z]?)|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<amount>[0-9]+(?:\.[0-9]+)?)|(?P<space> +)"
)
HINTS = {
    "+": "charges and oxidation states are no part of a formula",
    "-": "charges and oxidation states are no part of a formula",
    ".": "amounts must be whole numbers; write an adduct such as a hydrate with '·' or '*', as CaSO4·2H2O",
    ",": "amounts must be whole numbers; a site that elements share is disorder, which is not supported",
    "/": "a site that elements share is disorder, which is not supported",
    ":": "a dopant is disorder, which is not supported",
}

Counts = dict[str, Fraction]


def parse_formula(text: str) -> dict[str, int]:
    """Read a formula such as `TiO2`, `Ti2O4`, `Ca(OH)2`, `Ti1 O2` or `CaSO4·2H2O`; brackets may nest.

    Subscripts, LaTeX and HTML are read as what they show; amounts such as `2.0` are whole. Returns atoms of each element in
    the order of the text, every one supported. Raises RowError with a reason.
    """
    if not text.strip():
        raise RowError("the formula is empty; fill it in or delete the row")
    if len(text) > MAX_CHARACTERS:
        raise RowError(
            f"the formula {shown(text, 20)} has {len(text)} characters, "
            f"expected at most {MAX_CHARACTERS}; fix the row or delete it"
        )
    counts: Counts = {}
    parts = adduct_parts(plain_notation(_decimal_points(text)))
    for part in parts:
        _add(counts, _count_atoms(part.formula, text), part.times)
    if len(parts) > 1:
        # Half a molecule of water in a unit makes a unit twice as large: both are one compound.
        scale = lcm(*(part.times.denominator for part in parts))
        counts = {symbol: n * scale for symbol, n in counts.items()}
    if any(n.denominator > 1 for n in counts.values()) or any(_has_fraction(part.formula) for part in parts):
        raise _disorder(text, counts)
    unsupported = sorted(counts.keys() - SUPPORTED_ELEMENTS)
    if unsupported:
        raise RowError(
            f"{shown(text)} holds {', '.join(unsupported)}, which the potential was not trained on "
            "(supported: H to Pu without Po, At, Rn, Fr and Ra); delete the row"
        )
    return {symbol: int(n) for symbol, n in counts.items()}


def _decimal_points(text: str) -> str:
    """Decimal commas, as a spreadsheet writes them in much of Europe, as points."""
    return re.sub(r"(?<=[0-9]),(?=[0-9])", ".", text)


def _has_fraction(formula: str) -> bool:
    """Whether an amount is written as a fraction; brackets may multiply it to a whole number, but it is disorder still."""
    return any(Fraction(n).denominator > 1 for n in re.findall(r"[0-9]+\.[0-9]+", formula))


def _disorder(text: str, counts: Counts) -> RowError:
    whole = whole_amounts(counts)
    advice = f"; an ordered crystal of this composition would be {whole}" if whole else ""
    return not_a_formula(
        text,
        "amounts must be whole numbers: disordered and partly occupied crystals are not supported" + advice,
    )


def _count_atoms(formula: str, text: str) -> Counts:
    """Scan left to right; each open bracket starts a group, which its closing bracket's amount multiplies."""
    groups: list[Counts] = [{}]
    brackets: list[str] = []
    pending: Counts | None = None  # The element or group that an amount may still follow.
    position = 0
    while position < len(formula):
        match = TOKEN.match(formula, position)
        if match is None:
            raise not_a_formula(text, _unexpected(formula, position))
        token = match[0]
        if match.lastgroup == "amount":
            if formula.startswith(".", match.end()):
                raise not_a_formula(text, _unexpected(formula, match.end()))
            if pending is None:
                raise not_a_formula(
                    text, f"the amount {shown(token, 8)} at character {position + 1} follows no element"
                )
            _add(groups[-1], pending, _amount(text, token))
            pending = None
        else:
            if pending is not None:
                _add(groups[-1], pending, Fraction(1))
                pending = None
            if match.lastgroup == "symbol":
                pending = {_symbol(text, token, position): Fraction(1)}
            elif match.lastgroup == "open":
                brackets.append(token)
                groups.append({})
            elif match.lastgroup == "close":
                if not brackets or CLOSING[brackets.pop()] != token:
                    raise not_a_formula(text, f"unbalanced '{token}' at character {position + 1}")
                pending = groups.pop()
                if not pending:
                    raise not_a_formula(text, "empty brackets")
        position = match.end()
    if brackets:
        raise not_a_formula(text, f"unbalanced '{brackets[-1]}'")
    if pending is not None:
        _add(groups[-1], pending, Fraction(1))
    if not groups[0]:
        raise not_a_formula(text, "it names no element")
    _check_blanks(formula, text)
    return groups[0]


def _check_blanks(formula: str, text: str) -> None:
    """Blanks may stand between elements (`Na1 Cl1`); between compounds (`NaCl TiO2`) they are several formulas."""
    parts = re.sub(r"[(\[{].*[)\]}][0-9.]*", "", formula).split()
    if " " in formula.strip() and any(len(re.findall("[A-Z]", part)) > 1 for part in parts):
        raise not_a_formula(
            text, "blanks may separate elements alone; write it without blanks, or one formula a line"
        )


def _add(group: Counts, part: Counts, times: Fraction) -> None:
    for symbol, amount in part.items():
        group[symbol] = group.get(symbol, Fraction(0)) + amount * times


def _amount(text: str, digits: str) -> Fraction:
    if len(digits.partition(".")[0]) > MAX_DIGITS:
        raise not_a_formula(text, f"the amount {shown(digits, 8)} is larger than any cell")
    if not Fraction(digits) or digits.startswith("0") and "." not in digits:
        raise not_a_formula(text, f"the amount '{digits}' is zero or begins with a zero, expected 1, 2, 3, …")
    return Fraction(digits)


def _symbol(text: str, symbol: str, position: int) -> str:
    if symbol in SYMBOLS or symbol in HEAVIER:
        return symbol
    if symbol in ("D", "T"):
        raise not_a_formula(text, f"'{symbol}' is an isotope, and isotopes are not told apart; write H")
    raise not_a_formula(text, f"'{symbol}' at character {position + 1} is not an element{_meant(text)}")


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
        return f"'{character}' {place}: an element symbol begins with a capital letter{_meant(formula)}"
    return f"unexpected {shown(character)} {place}"


def _meant(text: str) -> str:
    readings = other_capitals(text) if re.fullmatch(r"[A-Za-z0-9 ()]+", text) else ()
    return f"; did you mean {' or '.join(readings)}?" if readings else ""

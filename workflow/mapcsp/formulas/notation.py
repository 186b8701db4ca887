"""The notations in which people write formulas, brought to one: LaTeX, HTML, subscripts, adducts.

Only what has one meaning is translated. Charges, oxidation states and unknown amounts are named and refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from mapcsp.formulas.wording import not_a_formula

# Subscript digits come with formulas copied from papers; any other look-alike is a mistake.
_TYPOGRAPHY = str.maketrans(
    {
        **dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789")),
        **dict.fromkeys("\u00a0\u2002\u2003\u2009\u202f", " "),
        **dict.fromkeys("•∙⋅・●×*", "·"),
    }
)
# `**TiO2**`, `'TiO2'`: emphasis and quotes of Markdown and of scripts.
_QUOTED = re.compile(r"(?P<mark>\*\*?|__?|`+|['\"])(?P<inside>[A-Z(\[$].*?)(?P=mark)|[“‘](?P<curly>.*)[”’]")
_MARKUP = (
    (re.compile(r"\$([^$]*)\$"), r"\1"),
    (re.compile(r"</?su[b]>|</?SU[B]>"), ""),
    (re.compile(r"&middot;|&sdot;|&bull;|\\cdot(?![a-z])|\\bullet(?![a-z])"), "·"),
    (re.compile(r"\\[,;! ]"), ""),
    (re.compile(r"\\(?:mathrm|text|textrm|rm|ce|mathsf)\s*(?![a-z])"), ""),
    (re.compile(r"_\s*\{\s*([0-9.]+)\s*\}"), r"\1"),
    (re.compile(r"_([0-9])"), r"\1"),
)
# Roman numerals in brackets would be read as iodine and vanadium.
_OXIDATION_STATE = re.compile(r"[A-Za-z]\s*\((?:II|III|IV|VI{1,3}|[IV]\)(?![0-9]))")
# No compound has its iodine written twice.
_BARE_OXIDATION_STATE = re.compile(r"II(?![a-z])")
_CHARGE = re.compile(r"<sup>|\^|[⁺⁻]|[+-]$|[0-9][+-]|[+-][0-9]*[\])]|[A-Za-z)\]][+-](?=[A-Z]|$)")
_VARIABLE = re.compile(r"(?:[0-9][+\-−–±]\s*|[+\-−–±]\s*[0-9.]*|(?<=[a-z)\]])(?!y))[xyδ](?![a-z])")
# Molecules that crystals hold as guests: after a point, a number in front of them counts them.
_GUEST = re.compile(
    r"(?P<host>.*?[A-Za-z0-9)\]}])\.(?P<guest>[0-9]*(?:\.[0-9]+)?(?:H2O|\(H2O\)|NH3|\(NH3\))[0-9]*)"
)
# `Na1.5H2O` and `Ca1.0H2O`: nobody writes out an amount of 1 in front of a hydrate's point.
_EXPLICIT_ONE = re.compile(r".*[A-Za-z)\]}]1")
_FACTOR = re.compile(r"\s*(?P<n>[0-9]+\s*/\s*[0-9]+|[0-9]+(?:\.[0-9]+)?|)\s*(?P<rest>.*)", re.DOTALL)


@dataclass(frozen=True)
class Part:
    """One compound of an adduct, and how often it is there; most formulas have one part, once."""

    formula: str
    times: Fraction


def plain_notation(text: str) -> str:
    """Undo typesetting: `$\\mathrm{TiO_2}$`, `TiO<sub>2</sub>` and `TiO₂` become `TiO2`; middle dots become `·`.

    Raises RowError for charges, oxidation states and unknown amounts.
    """
    quoted = _QUOTED.fullmatch(text.strip())
    plain = (quoted["inside"] or quoted["curly"]) if quoted else text
    plain = plain.translate(_TYPOGRAPHY).strip()
    if re.search(r"[\\$<_&]", plain):
        for pattern, replacement in _MARKUP:
            plain = pattern.sub(replacement, plain)
        plain = _without_braces(plain) if "\\" in text else plain
    plain = plain.strip()
    if _VARIABLE.search(plain):
        raise not_a_formula(text, "x, y and δ stand for unknown amounts; write whole numbers")
    if _OXIDATION_STATE.search(plain):
        raise not_a_formula(
            text, "a roman numeral in brackets is an oxidation state, which is no part of a formula"
        )
    if _BARE_OXIDATION_STATE.search(plain):
        raise not_a_formula(text, "II is a roman numeral, an oxidation state, which is no part of a formula")
    if _CHARGE.search(plain):
        place = next(i for i, c in enumerate(plain) if c in "+-^⁺⁻<")
        raise not_a_formula(
            text,
            f"'{plain[place]}' at character {place + 1}: charges and oxidation states are no part of a formula",
        )
    return plain


def adduct_parts(formula: str) -> tuple[Part, ...]:
    """Split `CaSO4·2H2O`, `CaSO4.2H2O` or `CaSO4·2(H2O)` into parts with their numbers.

    A point counts as a middle dot in front of water or ammonia, a bracket or an element; else it belongs to an amount.
    Raises RowError for a part without formula.
    """
    texts = _at_points(formula) if "·" not in formula else formula.split("·")
    if len(texts) == 1:
        return (Part(formula, Fraction(1)),)
    parts = []
    for text in texts:
        match = _FACTOR.fullmatch(text)
        assert match is not None
        if not match["rest"].strip():
            raise not_a_formula(formula, "a part of the adduct is empty")
        try:
            times = Fraction(match["n"].replace(" ", "") or "1")
        except ZeroDivisionError:
            times = Fraction(0)
        if not times:
            raise not_a_formula(formula, f"a part of the adduct has the number '{match['n']}'")
        parts.append(Part(match["rest"].strip(), times))
    return tuple(parts)


def _at_points(formula: str) -> list[str]:
    match = _GUEST.fullmatch(formula)
    if match is not None and not (_EXPLICIT_ONE.fullmatch(match["host"]) and match["guest"][0].isdigit()):
        return [*_at_points(match["host"]), match["guest"]]
    return re.split(r"(?<=[A-Za-z0-9)\]}])\.(?=[A-Z(\[])", formula)


def _without_braces(text: str) -> str:
    """Drop the braces of LaTeX, which group and do not count, unless a number follows."""
    return re.sub(r"\{([^{}]*)\}(?![0-9])", r"\1", text)

"""Formulas, space groups and numbers as HTML, in the notation of crystallography."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

MISSING = "–"


def formula_html(formula: str) -> Markup:
    """`SrTiO3` with its amounts as subscripts."""
    return Markup(re.sub(r"(\d+(?:\.\d+)?)", r"<sub>\1</sub>", str(escape(formula))))


def space_group_html(symbol: str) -> Markup:
    """`P-42_1m` with overlined rotoinversions, screw axes as subscripts and letters in italics."""
    parts, before = [], ""
    for character in symbol:
        shown = str(escape(character))
        if before == "-":
            shown = f'<span class="bar">{shown}</span>'
        elif before == "_":
            shown = f"<sub>{shown}</sub>"
        elif character.isalpha():
            shown = f"<i>{shown}</i>"
        parts.append("" if character in "-_" else shown)
        before = character
    return Markup("".join(parts))


def number(value: float | None, digits: int = 3, unit: str = "") -> str:
    """A number with fixed digits and a true minus sign; a dash where there is none."""
    if value is None:
        return MISSING
    text = f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")
    return f"{text}\N{NO-BREAK SPACE}{unit}" if unit else text


def percent(value: float | None) -> str:
    """A probability in percent; a dash where there is none."""
    if value is None:
        return MISSING
    amount = "<1" if value < 0.005 else f"{100 * value:.0f}"
    return f"{amount}\N{NO-BREAK SPACE}%"

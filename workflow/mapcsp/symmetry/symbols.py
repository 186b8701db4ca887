"""Reads space groups by name: Hermann-Mauguin symbols of all 530 settings in any usual spelling, and Hall symbols.

The table is moyopy's, which is spglib's. A setting, an origin or a choice of axes names the same group, and is passed over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache

from mapcsp.crystals import space_group_symbol

N_SETTINGS = 530
CRYSTAL_SYSTEMS = (
    "triclinic",
    "monoclinic",
    "orthorhombic",
    "tetragonal",
    "trigonal",
    "hexagonal",
    "cubic",
    "rhombohedral",
)

# The two glide planes that the International Tables name e since 1992, by the centred face: Cmca is Cmce, Bmab is Bmeb.
_OLD_GLIDES = {"A": "bc", "B": "ac", "C": "ab"}
_MINUS = str.maketrans(dict.fromkeys("−–—‐‑‒¯", "-") | dict.fromkeys("'\"`_$", None) | {"\u00a0": " "})
_OVERLINE = re.compile(r"\\(?:bar|overline)\s*\{?\s*([1346])\s*\}?|([1346])[\u0304\u0305]")
_SUBSCRIPTS = str.maketrans("₁₂₃₄₅", "12345")
# `:2`, `:H`, `:b1`, `(origin choice 2)`, and the letters that ICSD appends for origins and axes.
_SETTING = re.compile(
    r"\s*(?::\s*[A-Za-z0-9-]{1,4}|\(\s*(?:origin|setting|hexagonal|rhombohedral)[^)]*\))\s*$", re.IGNORECASE
)
_APPENDED = re.compile(r"(?:HR|[HRSZ])$")
# `Fm-3m (225)`, `('Fm-3m', 225)`, `225 (Fm-3m)`, `No. 225`, and pymatgen's dictionaries with `number`.
_SYMBOL_AND_NUMBER = re.compile(
    r"\(?(?P<symbol>[A-Z][^(),]*?)\s*[,(;]\s*(?:#|[Nn]o\.?)?\s*(?P<number>[0-9]{1,3})\s*\)*"
)
_NUMBER_AND_SYMBOL = re.compile(
    r"\(?(?:#|[Nn]o\.?|SG)?\s*(?P<number>[0-9]{1,3})\s*(?:[,(;:]\s*(?P<symbol>[A-Z][^(),]*?)\s*\)*)?"
)
_NAMED_NUMBER = re.compile(r"\bnumber\W{1,4}([0-9]{1,3})\b")


@dataclass(frozen=True)
class _Names:
    """Numbers by symbol: Hermann-Mauguin without blanks, Hall with single blanks."""

    hermann_mauguin: dict[str, int]
    hall: dict[str, int]


def read_space_group(text: str) -> int | None:
    """Number of the space group that a text names by number, symbol, or both; None if it names none, or two."""
    plain = _plain(text)
    if found := _NAMED_NUMBER.search(plain):
        return _in_range(found[1])
    if number := _of_symbol(plain):
        return number
    for pattern in (_SYMBOL_AND_NUMBER, _NUMBER_AND_SYMBOL):
        if found := pattern.fullmatch(plain):
            number = _in_range(found["number"])
            return number if not found["symbol"] or _of_symbol(found["symbol"]) == number else None
    return None


def suggested_symbols(text: str) -> tuple[str, ...]:
    """Symbols that the author of a text that names no group may have meant, likeliest first, at most three."""
    plain = _SETTING.sub("", _plain(text)).replace(" ", "")
    exact = plain[:1].upper() + plain[1:].lower()
    if number := _of_symbol(exact):
        return (space_group_symbol(number),)
    known = _names().hermann_mauguin
    near = get_close_matches(exact, known, n=6, cutoff=0.7)
    return tuple(dict.fromkeys(space_group_symbol(known[name]) for name in near))[:3]


def no_space_group(text: str) -> str:
    """Why a text names no space group, and what its author may have meant."""
    if text.strip().lower() in CRYSTAL_SYSTEMS:
        return f"the space group is {text!r}, which is a crystal system, expected a number from 1 to 230 or a symbol"
    symbols = suggested_symbols(text)
    meant = f"; did you mean {' or '.join(symbols)}?" if symbols else ""
    return (
        f"the space group is {text[:60]!r}, expected a number from 1 to 230 or a symbol such as P2_1/c{meant}"
    )


def _of_symbol(text: str) -> int | None:
    names = _names()
    plain = _SETTING.sub("", text).strip()
    for candidate in dict.fromkeys((plain, _APPENDED.sub("", plain).strip())):
        number = names.hermann_mauguin.get(candidate.replace(" ", ""))
        hall = names.hall.get(" ".join(text.split()))
        if number is not None:
            # `P 4 2` is P4_2 in a sloppy spelling, and P422 by Hall.
            return number if hall in (None, number) or _is_spelt(candidate, number) else None
    return names.hall.get(" ".join(text.split()))


def _is_spelt(text: str, number: int) -> bool:
    """Whether a text has the blanks of a Hermann-Mauguin symbol of the group."""
    return " ".join(text.split()) in _spellings().get(number, ())


def _plain(text: str) -> str:
    """Undo typesetting: overlines become minus signs, subscripts digits."""
    text = _OVERLINE.sub(lambda m: "-" + (m[1] or m[2]), text)
    text = re.sub(r"</?(?:sub|i|b)>|[{}\\]", "", text.translate(_SUBSCRIPTS))
    return text.translate(_MINUS).strip()


def _in_range(digits: str) -> int | None:
    return int(digits) if 1 <= int(digits) <= 230 else None


@cache
def _entries() -> tuple[tuple[int, str, str, str], ...]:
    """Number, short and full Hermann-Mauguin symbol and Hall symbol of each setting; underscores dropped."""
    from moyopy import HallSymbolEntry

    entries = (HallSymbolEntry(hall_number=n) for n in range(1, N_SETTINGS + 1))
    return tuple(
        (e.number, e.hm_short.replace("_", ""), e.hm_full.replace("_", ""), e.hall_symbol.replace("_", ""))
        for e in entries
    )


@cache
def _names() -> _Names:
    # Centred cells of triclinic crystals are no settings of the table.
    symbols = {f"{centring}{rest}": number for centring in "ABCFI" for rest, number in (("1", 1), ("-1", 2))}
    hall: dict[str, int] = {}
    # Short symbols first: those of the standard settings are nobody else's.
    for number, short, _, _ in _entries():
        symbols.setdefault(short.replace(" ", ""), number)
    for number, _, full, _ in _entries():
        symbols.setdefault(full.replace(" ", ""), number)
    for entry in _entries():
        if 3 <= entry[0] <= 15:
            # Other cells and axes are named without the ones: P2_1/n for P 1 2_1/n 1, I2/a for I 1 2/a 1.
            symbols.setdefault("".join(part for part in entry[2].split() if part != "1"), entry[0])
        hall.setdefault(" ".join(entry[3].replace('"', "").replace("'", "").split()), entry[0])
        if "e" in entry[1]:
            for glide in _OLD_GLIDES[entry[1][0]]:
                symbols.setdefault(entry[1].replace(" ", "").replace("e", glide), entry[0])
        if entry[0] >= 200 and "-3" in entry[1]:
            # The older notation of cubic groups has no bar: Fm3m, Pa3, Ia3d.
            symbols.setdefault(entry[1].replace(" ", "").replace("-3", "3"), entry[0])
    return _Names(symbols, hall)


@cache
def _spellings() -> dict[int, frozenset[str]]:
    found: dict[int, set[str]] = {}
    for number, short, full, _ in _entries():
        found.setdefault(number, set()).update((short, full))
    return {number: frozenset(texts) for number, texts in found.items()}

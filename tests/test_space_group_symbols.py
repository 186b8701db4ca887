"""Space groups by name: every usual spelling gives the number, and a mistake a suggestion."""

from __future__ import annotations

import pytest
from mapcsp.crystals import space_group_symbol
from mapcsp.symmetry.symbols import N_SETTINGS, no_space_group, read_space_group, suggested_symbols
from moyopy import HallSymbolEntry


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Fm-3m", 225),
        ("F m -3 m", 225),
        ("Fm−3m", 225),
        ("Fm3\u0305m", 225),
        (r"$Fm\overline{3}m$", 225),
        (r"Fm\bar{3}m", 225),
        ("Fm3m", 225),
        ("F m -3 m :1", 225),
        ("225", 225),
        ("No. 225", 225),
        ("225 (Fm-3m)", 225),
        ("Fm-3m (225)", 225),
        ("('Fm-3m', 225)", 225),
        ("{'crystal_system': 'Cubic', 'symbol': 'Fm-3m', 'number': 225, 'point_group': 'm-3m'}", 225),
        ("P2_1/c", 14),
        ("P21/c", 14),
        ("P 1 21/c 1", 14),
        ("P 21/n", 14),
        ("P2_1/a", 14),
        ("-P 2ybc", 14),
        ("C2/c", 15),
        ("I2/a", 15),
        ("P 63/m m c", 194),
        ("P6_3/mmc", 194),
        ("P6₃/mmc", 194),
        ("P6<sub>3</sub>/mmc", 194),
        ("R-3m:H", 166),
        ("R -3 m H", 166),
        ("R -3 c :R", 167),
        ("F d -3 m :2", 227),
        ("F d -3 m Z", 227),
        ("F d -3 m (origin choice 1)", 227),
        ("-F 4vw 2vw 3", 227),
        ("I41/amd", 141),
        ("I4_1/amd", 141),
        ("Pnma", 62),
        ("Pbnm", 62),
        ("Cmca", 64),
        ("Cmce", 64),
        ("Bmab", 64),
        ("Ia3d", 230),
        ("P42", 77),
        ("P 4 2 2", 89),
        ("F-1", 2),
    ],
)
def test_a_space_group_is_read_in_any_usual_spelling(text, number):
    assert read_space_group(text) == number


def test_every_setting_names_its_group_by_each_of_its_symbols():
    for n in range(1, N_SETTINGS + 1):
        entry = HallSymbolEntry(hall_number=n)
        for symbol in (
            entry.hm_short,
            entry.hm_full,
            entry.hm_short.replace("_", ""),
            entry.hm_full.replace(" ", ""),
        ):
            assert read_space_group(symbol) == entry.number, symbol


def test_numbers_and_the_symbols_that_results_show_are_read_back():
    for number in range(1, 231):
        assert read_space_group(str(number)) == read_space_group(space_group_symbol(number)) == number


@pytest.mark.parametrize(
    "text", ["0", "231", "999", "-1", "1.5", "Fm-3m (226)", "221 (Fm-3m)", "", "x", "cubic", "P 4 2"]
)
def test_what_names_no_group_or_two_is_none(text):
    assert read_space_group(text) is None


@pytest.mark.parametrize(
    ("text", "symbol"),
    [
        ("fm-3m", "Fm-3m"),
        ("FM-3M", "Fm-3m"),
        ("P21/C", "P2_1/c"),
        ("I42d", "I-42d"),
        ("Fm-3mm", "Fm-3m"),
        ("pnma", "Pnma"),
    ],
)
def test_a_mistake_gets_the_likeliest_symbol_as_suggestion(text, symbol):
    assert suggested_symbols(text)[0] == symbol
    assert f"did you mean {symbol}" in no_space_group(text)


def test_a_crystal_system_is_told_from_a_space_group():
    assert no_space_group("Cubic") == (
        "the space group is 'Cubic', which is a crystal system, expected a number from 1 to 230 or a symbol"
    )

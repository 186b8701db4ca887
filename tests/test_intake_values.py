"""Words and limits of the intake that a wrong value would change: every spelling, and both sides of each limit."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import islice
from pathlib import Path

import pytest
from mapcsp.composition import formula_amounts
from mapcsp.elements import SUPPORTED_ELEMENTS
from mapcsp.errors import UserError
from mapcsp.formulas import generate, rows
from mapcsp.formulas.columns import columns_note, read_header, without_formula
from mapcsp.formulas.generate import neutral_formulas, run_generate_formulas
from mapcsp.formulas.intake import check_formula_list, entry_path, run_intake
from mapcsp.formulas.parse import parse_formula
from mapcsp.formulas.readings import is_content
from mapcsp.formulas.suggestions import other_capitals, whole_amounts
from mapcsp.formulas.wording import RowError, shown
from mapcsp.provenance import value_hash, versions
from mapcsp.settings import IntakeSettings
from mapcsp.store import read_header as read_store_header
from pymatgen.core import Element


def check(folder: Path, data: str | bytes, **options):
    (folder / "list.csv").write_bytes(data.encode() if isinstance(data, str) else data)
    return check_formula_list(folder / "list.csv", IntakeSettings(**options))


def why(text: str) -> str:
    with pytest.raises(RowError) as caught:
        parse_formula(text)
    return str(caught.value)


# Words


@pytest.mark.parametrize("word", ["true", "t", "yes", "y", "1", "1.0", "content", "cell", "TRUE", "Cell"])
def test_every_word_for_a_content_is_read(tmp_path, word) -> None:
    (entry,) = check(tmp_path, f"formula,content\nNa2O2,{word}\n").accepted
    assert (entry.formula, entry.z_allowed) == ("NaO", (2,))


@pytest.mark.parametrize("word", ["false", "f", "no", "n", "0", "0.0", "formula", "FALSE", "Formula"])
def test_every_word_for_a_formula_is_read(tmp_path, word) -> None:
    (entry,) = check(tmp_path, f"formula,content\nTi2O4,{word}\n").accepted
    assert (entry.formula, entry.read_as) == ("Ti2O4", "formula")


@pytest.mark.parametrize(
    "word", ["nan", "NaN", "None", "none", "null", "NULL", "N/A", "n/a", "NA", "<NA>", "-", "–"]
)
def test_every_word_for_nothing_is_nothing(tmp_path, word) -> None:
    (entry,) = check(tmp_path, f"formula,z,space_group\nNaCl,{word},{word}\n").accepted
    assert (entry.z_given, entry.space_group) == (False, None)


@pytest.mark.parametrize("symbol", [Element.from_Z(n).symbol for n in range(95, 119)])
def test_elements_beyond_plutonium_are_elements_that_are_not_supported(symbol) -> None:
    assert why(f"{symbol}O2").startswith(
        f"'{symbol}O2' holds {symbol}, which the potential was not trained on"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Na+2Cl", "'+' at character 3: charges and oxidation states are no part of a formula"),
        ("Na-2Cl", "'-' at character 3: charges and oxidation states are no part of a formula"),
        ("Mg/FeO", "'/' at character 3: a site that elements share is disorder, which is not supported"),
        (
            "(Mg,Fe)O",
            "',' at character 4: amounts must be whole numbers; a site that elements share is disorder",
        ),
        ("NaCl:Eu", "':' at character 5: a dopant is disorder, which is not supported"),
        ("Na\ue000Cl", "is U+E000, no name; type it in plain letters and digits"),
        ("Na\x07Cl", r"unexpected '\x07' at character 3"),
    ],
)
def test_each_sign_that_is_none_of_a_formula_is_explained(text, said) -> None:
    assert said in why(text)


def test_a_text_is_quoted_whole_up_to_its_limit() -> None:
    assert shown("a" * 60) == f"'{'a' * 60}'"
    assert shown("a" * 61) == f"'{'a' * 60}… (61 characters)'"
    assert shown("ab", 2) == "'ab'" and shown("abc", 2) == "'ab… (3 characters)'"


# Limits


def test_the_usual_cell_of_a_formula_that_is_too_large_is_said(tmp_path) -> None:
    (olivine,) = check(tmp_path, "LiFePO4\n", max_atoms=6).rejected
    assert olivine.reason == (
        "one formula unit of LiFePO4 is 7 atoms, but a crystal of this stoichiometry mostly has z = 4 (28 atoms in the "
        "primitive cell); intake.max_atoms is 6, and 24 is the most; delete the row"
    )
    (perovskite,) = check(tmp_path, "SrTiO3\n", max_atoms=4).rejected
    assert re.fullmatch(
        r"one formula unit of SrTiO3 is 5 atoms, (the least that its primitive cell can hold|but .* mostly has z = \d \(\d+ "
        r"atoms in the primitive cell\)); intake.max_atoms is 4; raise it to \d+, or delete the row",
        perovskite.reason,
    )


def test_a_header_at_the_tenth_line_is_found_and_at_the_eleventh_it_is_not(tmp_path) -> None:
    titles = [f"remark {i} of mine" for i in range(10)]
    found = check(tmp_path, "\n".join([*titles[:9], "compound,z", "NaCl,1", ""]))
    assert [e.formula for e in found.accepted] == ["NaCl"] and len(found.rejected) == 9
    late = check(tmp_path, "\n".join([*titles, "compound,z", "NaCl,1", ""]))
    assert late.accepted == () and len(late.rejected) == 12


def test_as_many_rows_as_are_allowed_are_read(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(rows, "MAX_ROWS", 3)
    assert len(check(tmp_path, "formula\nNaCl\nKCl\nLiF\n").accepted) == 3
    with pytest.raises(UserError, match="has more than 3 rows"):
        check(tmp_path, "formula\nNaCl\nKCl\nLiF\nMgO\n")


def test_broken_utf_16_spoils_its_row_alone(tmp_path) -> None:
    data = b"\xff\xfe" + "NaCl\n".encode("utf-16-le") + b"\x00\xd8" + "\nKCl\n".encode("utf-16-le")
    found = check(tmp_path, data)
    assert [e.formula for e in found.accepted] == ["NaCl", "KCl"]
    assert [r.line for r in found.rejected] == [2] and "is not UTF-8 text" in found.rejected[0].reason


def test_empty_columns_beyond_the_header_are_no_columns(tmp_path) -> None:
    (entry,) = check(tmp_path, "formula,z\nNaCl,1,,\n").accepted
    assert entry.z_allowed == (1,)


# Suggestions


def test_whole_amounts_are_found_within_their_precision_alone() -> None:
    third, near, far = Fraction(1, 3), Fraction(1, 3) + Fraction(1, 251), Fraction(1, 3) + Fraction(1, 200)
    assert whole_amounts({"La": third, "O": Fraction(1)}) == "LaO3"
    assert whole_amounts({"La": near, "O": Fraction(1)}) == "LaO3"
    assert whole_amounts({"La": far, "O": Fraction(1)}) is None
    # Thirteenths are no amounts that anyone writes, nor is a share that rounds to nothing.
    assert whole_amounts({"La": Fraction(1, 13), "O": Fraction(1, 13)}) is None
    assert whole_amounts({"La": Fraction(1, 1000), "O": Fraction(1)}) is None
    assert whole_amounts({"La": Fraction(23, 12), "O": Fraction(1, 12)}) == "La23O"
    assert whole_amounts({"La": Fraction(24, 12), "O": Fraction(1, 12)}) is None


def test_at_most_three_readings_of_other_capitals_are_named() -> None:
    assert other_capitals("NACL")[0] == "NaCl" and set(other_capitals("CO2")) == {"CO2", "Co2"}
    # With the fewest elements first; CoSI2 and COSI2 would be the next.
    assert other_capitals("cosi2") == ("CoSi2", "COSi2", "COsI2")


# Columns


def test_columns_are_quoted_up_to_six_and_thirty_characters() -> None:
    names = ["a", "b", "c", "d", "e", "f"]
    assert str(without_formula("x.csv", names)).count("'a', 'b', 'c', 'd', 'e', 'f')") == 1
    assert "'f' and 1 more)" in str(without_formula("x.csv", [*names, "g"]))
    assert f"'{'n' * 30}… (31 characters)'" in str(without_formula("x.csv", ["n" * 31]))


@pytest.mark.parametrize("name", ["Fromula", "Chemical-Fromula", "COMPOSITON", "chemical formla"])
def test_a_misspelt_column_of_formulas_is_found_whatever_its_capitals(name) -> None:
    assert f"did you mean '{name}'" in str(without_formula("x.csv", ["energy", name]))
    assert "did you mean" not in str(without_formula("x.csv", ["energy", "volume"]))


def test_a_misspelt_column_of_space_groups_is_named_whatever_its_capitals() -> None:
    header = read_header("x.csv", ["formula", "SPACE-GRUOP"])
    assert header is not None and "'SPACE-GRUOP' (did you mean spacegroup?)" in columns_note(header)


# Readings


@pytest.mark.parametrize(
    "formula",
    [
        "(NH4)2S2O8",
        "Ag2C2O4",
        "Cu2C2",
        "Tl2S2O8",
        "C2H2Cl2",
        "C2H2F2",
        "C2H4Br2",
        "C2H4I2",
        "C2H6S2",
        "C2H8P2",
        "CHNOFPSClBrI",
    ],
)
def test_salts_of_every_univalent_ion_and_organic_molecules_are_formulas(formula) -> None:
    assert not is_content(parse_formula(formula))


def test_a_molecule_of_every_organic_element_is_a_formula() -> None:
    assert not is_content(dict.fromkeys(("C", "H", "N", "O", "F", "P", "S", "Cl", "Br", "I"), 2))
    assert is_content({"C": 2, "H": 2, "Fe": 2}) and is_content({"C": 2, "O": 2})


# The stage


def test_of_many_readings_three_are_named(tmp_path) -> None:
    (note,) = check(tmp_path, "Ti2O4\nZn2S2\nMg2O2\n").notes
    assert "Ti2O4 (2 TiO2), Zn2S2 (2 ZnS), Mg2O2 (2 MgO); for a formula" in note
    (note,) = check(tmp_path, "Ti2O4\nZn2S2\nMg2O2\nGa4N4\nSi2\n").notes
    assert "Mg2O2 (2 MgO) and 2 more; for a formula" in note
    assert isinstance(check(tmp_path, "NaCl\n").notes, tuple)


def test_the_filter_names_the_formula_that_fails_the_second_test(tmp_path) -> None:
    (rejected,) = check(tmp_path, "AlNi3\n", smact_filter=True).rejected
    assert rejected.reason.startswith(
        "AlNi3 fails smact's electronegativity test and intake.smact_filter is on"
    )


def test_an_entry_says_by_which_settings_and_versions_it_was_made(tmp_path) -> None:
    (tmp_path / "list.csv").write_text("NaCl\n")
    (tmp_path / "intake.json").write_text('{"max_atoms": 8}')
    run_intake(tmp_path / "list.csv", tmp_path / "intake.json", tmp_path / "out")
    header = read_store_header(entry_path(tmp_path / "out", "NaCl"))
    assert header["settings"] == value_hash(IntakeSettings(max_atoms=8).model_dump(mode="json"))
    assert header["versions"] == versions(("smact",)) and "smact" in header["versions"]


# Generated lists


def test_generated_lists_are_the_same_ever_after() -> None:
    """Benchmarks of scale compare runs of one list: its formulas may not change with the code."""
    found = list(islice(neutral_formulas(1, 12), 400))
    first = (
        "Ho5SiAs4 CeMn3Ge3O5 SrAu3S Cd3Pb2Se2 GaTcO5 ThPt4Se4 TaOs2Se3 MnO2 Fe2Au2Se3 CuMo4As4 FeMoSe4 Hg2As"
    )
    assert " ".join(found[:12]) == first
    anions = [[s for s in formula_amounts(f) if s in generate.ANIONS] for f in found]
    # One anion in each, and one to three other elements, two of them mostly.
    assert all(len(a) == 1 for a in anions)
    others = [len(formula_amounts(f)) - 1 for f in found]
    assert set(others) == {1, 2, 3}
    assert {a for (a,) in anions} >= {"O", "S", "Se", "Te", "F", "Cl", "Br", "I", "N", "P", "As", "Sb"}
    assert all(set(formula_amounts(f)) <= SUPPORTED_ELEMENTS for f in found)


def test_too_few_formulas_are_an_error_with_their_number(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(generate, "MAX_DRAWS_WITHOUT_FORMULA", 300)
    n = len(list(neutral_formulas(1, 2)))
    assert 0 < n < 5000
    with pytest.raises(
        UserError, match=f"only {n} formulas of at most 2 atoms were found, expected 5000; allow more"
    ):
        run_generate_formulas(5000, 1, 2, tmp_path / "none.csv")
    run_generate_formulas(n, 1, 2, tmp_path / "all.csv")
    lines = (tmp_path / "all.csv").read_text().splitlines()
    assert lines[0] == "formula" and len(set(lines)) == n + 1
    assert all(sum(formula_amounts(f).values()) == 2 for f in lines[1:])

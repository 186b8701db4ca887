"""Lists as people have them: exports of databases, spreadsheets and scripts, and formulas as they are written."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from mapcsp.composition import canonical_formula, units_of
from mapcsp.errors import UserError
from mapcsp.formulas.intake import check_formula_list, run_intake
from mapcsp.formulas.parse import parse_formula
from mapcsp.formulas.readings import is_content
from mapcsp.formulas.wording import RowError
from mapcsp.records import FormulaEntry
from mapcsp.settings import IntakeSettings

# What each list below asks for: formula, id, z if given, space group.
Asked = list[tuple[str, str, int | None, int | None]]
SALT: Asked = [("NaCl", "NaCl", None, None), ("TiO2", "TiO2", None, None)]
CONTENTS_OF_CELLS: Asked = [("NaCl", "NaCl_z4", 4, None), ("TiO2", "TiO2_z2", 2, None)]
NAMED: Asked = [("NaCl", "mp-1", None, 225), ("TiO2", "mp-2", None, 136)]


def check(folder: Path, data: str | bytes, **options):
    path = folder / "list.csv"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return check_formula_list(path, IntakeSettings(**options))


def accept(folder: Path, data: str | bytes, **options) -> tuple[FormulaEntry, ...]:
    checked = check(folder, data, **options)
    assert checked.rejected == ()
    return checked.accepted


def asked(entries: tuple[FormulaEntry, ...]) -> Asked:
    return [(e.formula, e.id, e.z_allowed[0] if e.z_given else None, e.space_group) for e in entries]


# Files

LISTS: dict[str, tuple[str | bytes, Asked]] = {
    "Materials Project": ("material_id,formula_pretty,symmetry\nmp-1,NaCl,225\nmp-2,TiO2,136\n", NAMED),
    "old Materials Project": (
        "material_id,pretty_formula,spacegroup.symbol,spacegroup.number\nmp-1,NaCl,Fm-3m,225\nmp-2,TiO2,P4_2/mnm,136\n",
        NAMED,
    ),
    "pandas index": (",mp_id,reduced_formula,sg\n0,mp-1,NaCl,225.0\n1,mp-2,TiO2,136.0\n", NAMED),
    "symbols": ("ID;Formula;Space Group\nmp-1;NaCl;F m -3 m\nmp-2;TiO2;P 42/m n m\n", NAMED),
    "energies": ("formula,e_above_hull,band_gap\nNaCl,0.0,5.0\nTiO2,0.01,3.0\n", SALT),
    "Excel's line sep": ("sep=;\nformula;energy\nNaCl;1,5\nTiO2;2,5\n", SALT),
    "Excel's line sep, quoted": ('"sep=;"\r\nformula;z\r\nNaCl;\r\nTiO2;\r\n', SALT),
    "Excel's line sep, tab": ("sep=\t\nformula\tz\nNaCl\t\nTiO2\t\n", SALT),
    "Excel's Unicode text": ("Formula\tEnergy\r\nNaCl\t1\r\nTiO2\t2\r\n".encode("utf-16"), SALT),
    "pandas, printed": ("    formula  z  energy\n0      NaCl  4    -3.2\n10     TiO2  2    -9.1\n", CONTENTS_OF_CELLS),
    "pandas, printed, one column": ("  formula\n0    NaCl\n1    TiO2\n", SALT),
    "Markdown's emphasis": ("| **Formula** |\n|---|\n| `NaCl` |\n| **TiO2** |\n", SALT),
    "quotes of a script": ("formula\n'NaCl'\n“TiO2”\n", SALT),
    "a whole data frame of the Materials Project": (
        "nsites,composition,composition_reduced,formula_pretty,formula_anonymous,material_id,symmetry.number\n"
        "8,Na4 Cl4,Na1 Cl1,NaCl,AB,mp-1,225\n6,Ti2 O4,Ti1 O2,TiO2,AB2,mp-2,136\n",
        NAMED,
    ),
    "a content beside its reduced formula": ("formula,pretty_formula\nNa4Cl4,NaCl\nTi2O4,TiO2\n", SALT),
    "big-endian UTF-16": (b"\xfe\xff" + "formula\nNaCl\nTiO2\n".encode("utf-16-be"), SALT),
    "UTF-32": ("formula\nNaCl\nTiO2\n".encode("utf-32"), SALT),
    "byte order mark": ("\ufeffFormula;\r\nNaCl;\r\nTiO2;\r\n", SALT),
    "old Mac": ("Chemical Formula\rNaCl\rTiO2\r", SALT),
    "numpy's commented header": ("# formula z\nNaCl 4\nTiO2 2\n", CONTENTS_OF_CELLS),
    "blanks": ("formula   z\nNaCl      4\nTiO2      2\n", CONTENTS_OF_CELLS),
    "Markdown": ("| compound | z |\n|---|---:|\n| NaCl |  |\n| TiO2 | |\n", SALT),
    "quotes": ('"Composition","Name"\n"NaCl","rock salt, halite"\n"TiO2","rutile"\n', SALT),
    "capitals and blanks": (" FORMULA , Z \n NaCl , \n TiO2 ,\n", SALT),
    "units in the header": ("Chemical formula (reduced),E (eV)\nNaCl,1\nTiO2,2\n", SALT),
    "OPTIMADE": ("id,chemical_formula_reduced,nelements\nmp-1,ClNa,2\nmp-2,O2Ti,2\n",
                 [("ClNa", "mp-1", None, None), ("O2Ti", "mp-2", None, None)]),
    "trailing delimiters": ("NaCl,,,\nTiO2,,,\n", SALT),
    "comments": ("# my oxides, and a salt\nformula\n# rock salt\nNaCl\n\nTiO2\n", SALT),
    "decimal commas": ("formula\nNa1,0Cl1,0\nTi1,0O2,0\n", SALT),
    "decimal commas, semicolons": ("formula;z\nNa1,0Cl1,0;\nTi1,0O2,0;\n", SALT),
    "decimal commas, no header": ("Na1,0Cl1,0\nTi1,0O2,0\n", SALT),
    "full formulas": (
        "task_id,full_formula\nmp-1,Na1Cl1\nmp-2,Ti2O4\n",
        [("NaCl", "mp-1", 1, None), ("TiO2", "mp-2", 2, None)],
    ),
    "pymatgen's Structure.formula": ("formula\nNa4 Cl4\nTi2 O4\n", CONTENTS_OF_CELLS),
    "pymatgen's special formulas": (
        "formula_pretty\nLi2O2\nNa2O2\nK2O2\nH2O2\nCs2O2\nRb2O2\nO2\nN2\nF2\nCl2\nH2\n",
        [(f, f, None, None) for f in ["Li2O2", "Na2O2", "K2O2", "H2O2", "Cs2O2", "Rb2O2", "O2", "N2", "F2", "Cl2", "H2"]],
    ),
    "pandas' nothing": ("formula,z,space_group\nNaCl,nan,None\nTiO2,N/A,-\n", SALT),
    "bullets": ("- NaCl\n- TiO2\n", SALT),
    "numbers": ("1. NaCl\n2. TiO2\n", SALT),
    "structures in quoted cells": ('formula,structure\nNaCl,"Full Formula (Na1 Cl1)\nabc: 4, 4\n"\nTiO2,"a\nb"\n', SALT),
    "a dictionary of symmetry": (
        "formula_pretty;symmetry\nNaCl;{'crystal_system': 'Cubic', 'symbol': 'Fm-3m', 'number': 225}\n",
        [("NaCl", "NaCl_sg225", None, 225)],
    ),
    "content, in words": (
        "formula,content\nTi2O4,yes\nZn2S2,FALSE\nNa2O2,true\nMgO,1\nCaO,\n",
        [("TiO2", "TiO2_z2", 2, None), ("Zn2S2", "Zn2S2", None, None), ("NaO", "NaO_z2", 2, None),
         ("MgO", "MgO_z1", 1, None), ("CaO", "CaO", None, None)],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("data", "expected"), LISTS.values(), ids=LISTS)
def test_a_list_as_people_have_it_is_read(tmp_path, data, expected):
    assert asked(accept(tmp_path, data)) == expected


def test_a_title_above_the_header_spoils_only_itself(tmp_path):
    checked = check(tmp_path, "My oxides 2024\n\nNo.,Formula,Remark\n1,TiO2,a\n2,MgO,b\n")
    assert [e.formula for e in checked.accepted] == ["TiO2", "MgO"]
    assert [(r.line, r.content) for r in checked.rejected] == [(1, "My oxides 2024")]
    assert "stands above the header" in checked.rejected[0].reason


@pytest.mark.parametrize(
    "header",
    [
        "Formula",
        "fromula",
        "compounds name",
        "structure",
        "id,spin",
        "Id;Z",
        "name,energy",
        "mpid\tsg",
        "N,V,gap",
    ],
)
def test_a_list_with_a_header_is_never_told_that_it_has_none(tmp_path, header):
    delimiter = next((d for d in ";\t" if d in header), ",")
    names = header.split(delimiter)
    row = delimiter.join(["NaCl" if len(name) > 1 else "64" for name in names])
    try:
        reasons = [r.reason for r in check(tmp_path, f"{header}\n{row}\n{row}\n").rejected]
    except UserError as error:
        reasons = [str(error)]
    assert not any("has no header" in reason for reason in reasons), reasons


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (
            "formula,cell content\nNaCl,true\n",
            "several columns for formulas, 'formula', 'cell content'",
        ),
        ("formula,Formula\nNaCl,NaCl\n", "several columns for formulas, 'formula', 'Formula'; expected one"),
        ("id,energy\na,1\n", r"no column `formula` \(its columns are 'id', 'energy'\); name that column"),
        ("fromula,energy\nNaCl,1\n", "did you mean 'fromula'"),
        (b"PAR1\x15\x04", "is a parquet table, expected text; write it as CSV"),
        ('["NaCl", "TiO2"]\n', "is JSON, expected a table; write it as CSV, or one formula a line"),
        ('[\n  {"formula": "NaCl"}\n]\n', "is JSON, expected a table"),
        ('{"formula": "NaCl"}\n', "is JSON, expected a table"),
        ("['NaCl', 'TiO2']\n", "is JSON, expected a table"),
        ("data_NaCl\n_cell_length_a 5.6\n", "is a CIF file, expected formulas"),
        ("<!DOCTYPE html>\n", "is HTML or XML, expected a table"),
        (b"%PDF-1.7", "is a PDF file"),
        (b"\x1f\x8b\x08", "is a compressed file, expected text; unpack it"),
        (
            b"PK\x03\x04[Content_Types].xml",
            "is a spreadsheet or archive, expected text; save it as CSV UTF-8",
        ),
    ],
)
def test_a_file_that_cannot_be_meant_is_one_clear_line(tmp_path, data, reason):
    with pytest.raises(UserError, match=reason) as caught:
        check(tmp_path, data)
    assert "\n" not in str(caught.value) and "list.csv" in str(caught.value)


def test_a_quote_that_never_ends_and_an_error_of_a_spreadsheet_spoil_their_rows_alone(tmp_path):
    checked = check(tmp_path, 'formula,remark\nNaCl,"open\n#NAME?,\nTiO2,\n')
    assert [e.formula for e in checked.accepted] == ["TiO2"]
    assert [r.line for r in checked.rejected] == [2, 3]


def test_columns_that_are_not_read_are_said_with_what_they_may_have_meant(tmp_path):
    checked = check(tmp_path, "mp_id,formula,space_gruop,band_gap\nmp-1,NaCl,225,5\n")
    assert checked.notes == (
        "columns not read: 'space_gruop', 'band_gap'; 'space_gruop' (did you mean spacegroup?); "
        "read: formula as formula, mp_id as id",
    )
    assert check(tmp_path, "formula,z\nNaCl,1\n").notes == ()


# Formulas


@pytest.mark.parametrize(
    ("text", "amounts"),
    [
        ("Ti1.0O2.0", {"Ti": 1, "O": 2}),
        ("TiO2.0", {"Ti": 1, "O": 2}),
        ("Ca(OH)2.0", {"Ca": 1, "O": 2, "H": 2}),
        ("Li1Fe1P1O4", {"Li": 1, "Fe": 1, "P": 1, "O": 4}),
        ("Na1 Cl1", {"Na": 1, "Cl": 1}),
        ("K4 [Fe(CN)6]", {"K": 4, "Fe": 1, "C": 6, "N": 6}),
        ("Na\u00a0Cl", {"Na": 1, "Cl": 1}),
        ("CaSO4.2H2O", {"Ca": 1, "S": 1, "O": 6, "H": 4}),
        ("CaSO4·2H2O", {"Ca": 1, "S": 1, "O": 6, "H": 4}),
        ("CaSO4*2H2O", {"Ca": 1, "S": 1, "O": 6, "H": 4}),
        ("CaSO4•2(H2O)", {"Ca": 1, "S": 1, "O": 6, "H": 4}),
        ("CaSO4 ⋅ 2 H2O", {"Ca": 1, "S": 1, "O": 6, "H": 4}),
        ("CaSO4.0.5H2O", {"Ca": 2, "S": 2, "O": 9, "H": 2}),
        ("CaSO4·½H2O".replace("½", "1/2"), {"Ca": 2, "S": 2, "O": 9, "H": 2}),
        ("CuSO4.5H2O", {"Cu": 1, "S": 1, "O": 9, "H": 10}),
        ("LiOH.H2O", {"Li": 1, "O": 2, "H": 3}),
        ("Na2S.9H2O", {"Na": 2, "S": 1, "H": 18, "O": 9}),
        ("CoCl2.6NH3", {"Co": 1, "Cl": 2, "N": 6, "H": 18}),
        ("MgO.Al2O3", {"Mg": 1, "O": 4, "Al": 2}),
        ("3CaO·Al2O3", {"Ca": 3, "O": 6, "Al": 2}),
        ("[Co(NH3)6]Cl3", {"Co": 1, "N": 6, "H": 18, "Cl": 3}),
        ("TiO$_2$", {"Ti": 1, "O": 2}),
        (r"$\mathrm{TiO_2}$", {"Ti": 1, "O": 2}),
        (r"$\mathrm{Ca(OH)_{2}}$", {"Ca": 1, "O": 2, "H": 2}),
        (r"\ce{CaSO4\cdot2H2O}", {"Ca": 1, "S": 1, "O": 6, "H": 4}),
        ("Fe_2O_3", {"Fe": 2, "O": 3}),
        ("TiO<sub>2</sub>", {"Ti": 1, "O": 2}),
        ("CaSO4&middot;2H2O", {"Ca": 1, "S": 1, "O": 6, "H": 4}),
        ("Dy2O3", {"Dy": 2, "O": 3}),
    ],
)  # fmt: skip
def test_a_formula_is_read_in_any_usual_notation(text, amounts):
    assert parse_formula(text) == amounts
    assert list(parse_formula(text)) == list(amounts)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Fe0.95O", "disordered and partly occupied crystals are not supported"),
        ("K0.5Na0.5NbO3", "an ordered crystal of this composition would be KNaNb2O6"),
        ("(Mg0.5Fe0.5)2SiO4", "an ordered crystal of this composition would be MgFeSiO4"),
        ("La0.67Sr0.33MnO3", "would be La2SrMn3O9"),
        ("Fe.95O", "amounts must be whole numbers; write an adduct such as a hydrate with '·'"),
        ("CaO.2SiO2", "amounts must be whole numbers; write an adduct such as a hydrate with '·'"),
        ("(Mg,Fe)SiO3", "a site that elements share is disorder"),
        ("Y2O3:Eu", "a dopant is disorder"),
        ("YBa2Cu3O7-x", "stand for unknown amounts"),
        ("YBa2Cu3O7-δ", "stand for unknown amounts"),
        ("La2-xSrxCuO4", "stand for unknown amounts"),
        ("Na+", "charges and oxidation states"),
        ("SO4^2-", r"'\^' at character 4: charges"),
        ("SO4 2-", "charges and oxidation states"),
        ("[PF6]-", "charges and oxidation states"),
        ("Ca²⁺", "charges and oxidation states"),
        ("SO4<sup>2-</sup>", "charges and oxidation states"),
        ("FeIIO", "II is a roman numeral, an oxidation state"),
        ("FeIII2O3", "II is a roman numeral, an oxidation state"),
        ("Fe(III)2O3", "a roman numeral in brackets is an oxidation state"),
        ("Cu(I)", "a roman numeral in brackets is an oxidation state"),
        (
            "NaCl TiO2 MgO",
            "blanks may separate elements alone; write it without blanks, or one formula a line",
        ),
        ("nacl", r"did you mean NaCl\?"),
        ("NACL", r"did you mean NaCl\?"),
        ("co", r"did you mean Co or CO\?"),
        ("sio2", r"did you mean SiO2 or SIO2\?"),
        ("silicon", r"an element symbol begins with a capital letter\);"),
        ("NaCl·", "a part of the adduct is empty"),
        ("NaCl·0H2O", "a part of the adduct has the number '0'"),
        ("$$", "it names no element"),
        ("D2O", "isotopes are not told apart; write H"),
    ],
)
def test_what_cannot_be_a_whole_formula_is_refused_with_what_to_write(text, reason):
    with pytest.raises(RowError, match=reason):
        parse_formula(text)


# Formula or content of a cell


FORMULAS = """
H2 N2 O2 F2 Cl2 Br2 I2 O3 P4 S8 Se8 Li2O2 Na2O2 K2O2 Rb2O2 Cs2O2 H2O2 Na2S2 K2Se2 K2S4 Li2C2 Na2C2O4 K2S2O8 (NH4)2C2O4
Hg2F2 Hg2Cl2 Hg2Br2 Hg2I2 Hg2(NO3)2 C2H2 C2H4 C6H6 CH3COOH C2N2 N2O4 N2H4 B2H6 B10H14 S2Cl2 S4N4 P4O6 P4O10 As4S4 As4O6
Al2Cl6 Al2Br6 Si2H6 Mn2(CO)10 Na3P3O9 Mo6Cl12
"""
CONTENTS = """
Ti2O4 Fe4O6 Si8O16 Pb4O4 Mg2O2 Na4Cl4 Zn2S2 Ga4N4 Si2 C4 Fe2 Na2 O8 N8 Hg2O2 Cu2O2 Ag2S2 Ba2O4 Fe2S4 H4O2 Na4O4 Al4Cl12
Mg2Si2O6 K2Pt2
"""


@pytest.mark.parametrize("formula", FORMULAS.split())
def test_a_formula_that_chemists_write_with_a_common_factor_is_a_formula(formula):
    assert not is_content(parse_formula(formula))


@pytest.mark.parametrize("formula", CONTENTS.split())
def test_any_other_formula_with_a_common_factor_is_the_content_of_a_cell(formula):
    assert is_content(parse_formula(formula))


def test_pymatgens_reduced_formulas_are_never_contents():
    from pymatgen.core import Composition

    for special in Composition.special_formulas.values():
        assert not is_content(parse_formula(special)), special


def test_sodium_peroxide_may_have_its_three_formula_units(tmp_path):
    (entry,) = accept(tmp_path, "formula_pretty\nNa2O2\n")
    assert (entry.formula, entry.amounts, entry.read_as) == ("Na2O2", (("Na", 2), ("O", 2)), "formula")
    assert (entry.z_allowed, entry.z_given) == ((1, 2, 3), False)


def test_a_given_z_counts_the_formula_as_written(tmp_path):
    peroxide, content = accept(tmp_path, "formula,z,content,id\nNa2O2,3,,a\nNa2O2,2,true,b\n")
    assert (peroxide.formula, peroxide.z_allowed) == ("Na2O2", (3,))
    assert (content.formula, content.z_allowed, content.read_as) == ("NaO", (2,), "content")


def test_the_known_cells_of_formulas_with_a_common_factor_are_allowed(tmp_path):
    # Primitive cells: chlorine (Cmce) has two molecules, alpha nitrogen four, calomel (I4/mmm) one, Na2O2 (P-62m) three.
    entries = accept(
        tmp_path, "formula,space_group\nCl2,Cmce\nN2,Pa-3\nHg2Cl2,I4/mmm\nNa2O2,P-62m\nO2,C2/m\n"
    )
    assert [z in entry.z_allowed for entry, z in zip(entries, (2, 4, 1, 3, 1))] == [True] * 5


def test_how_a_formula_was_read_is_said_and_what_to_do(tmp_path):
    checked = check(tmp_path, "NaCl\nTi2O4\nNa2O2\nHg2Cl2\n")
    assert [e.read_as for e in checked.accepted] == ["formula", "content", "formula", "formula"]
    content, formula = checked.notes
    assert content.startswith(
        "read as the content of a cell, which fixes z: Ti2O4 (2 TiO2); for a formula say --formula-unit"
    )
    assert formula.startswith(
        "read as a formula: Na2O2 (z counts Na2O2), Hg2Cl2 (z counts Hg2Cl2); for the content of a cell"
    )
    assert check(tmp_path, "formula,content\nTi2O4,true\nNa2O2,false\nNaCl,\n").notes == ()


def test_a_wrong_word_in_the_column_content_is_refused(tmp_path):
    (rejected,) = check(tmp_path, "formula,content\nTi2O4,perhaps\n").rejected
    assert rejected.reason == "content is 'perhaps', expected true, false or nothing; fix it"


def test_a_tab_that_is_missing_behind_a_quote_is_shown_in_letters(tmp_path):
    (row,) = check(tmp_path, 'formula\tid\n"NaCl"9\ta\n').rejected
    assert row.reason == "the row is not CSV ('\\t' expected after '\"'); fix its quotes or delete it"


def test_whole_numbers_may_have_a_decimal_comma(tmp_path):
    (entry,) = accept(tmp_path, "formula;z;space_group\nNaCl;1,0;225,00\n")
    assert (entry.z_allowed, entry.space_group) == ((1,), 225)


def test_spreadsheets_of_other_languages_say_content_in_theirs(tmp_path):
    entries = accept(tmp_path, "formula;content\nNa2O2;WAHR\nTi2O4;FALSCH\nK2O2;VRAI\n")
    assert [(e.formula, e.read_as) for e in entries] == [
        ("NaO", "content"),
        ("Ti2O4", "formula"),
        ("KO", "content"),
    ]


def test_the_reading_is_a_column_of_accepted_csv(tmp_path):
    (tmp_path / "list.csv").write_text("Ti2O4\nNa2O2\n")
    (tmp_path / "intake.json").write_text("{}")
    run_intake(tmp_path / "list.csv", tmp_path / "intake.json", tmp_path / "out")
    with open(tmp_path / "out/accepted.csv", newline="") as handle:
        found = [(r["formula"], r["as_given"], r["read_as"], r["z_allowed"]) for r in csv.DictReader(handle)]
    assert found == [("TiO2", "Ti2O4", "content", "2"), ("Na2O2", "Na2O2", "formula", "1 2 3")]


def test_formulas_with_structures_that_a_list_no_longer_asks_for_are_named(tmp_path, capsys):
    (tmp_path / "list.csv").write_text("MgO\n")
    (tmp_path / "intake.json").write_text("{}")
    (tmp_path / "ranking.csv").write_text("id,formula\nNaCl,NaCl\nNaCl,NaCl\nMgO,MgO\n")
    run_intake(tmp_path / "list.csv", tmp_path / "intake.json", tmp_path / "out", tmp_path / "ranking.csv")
    assert capsys.readouterr().out == (
        f"note: {tmp_path}/list.csv: NaCl of an earlier run is not asked for any more, and its structures go; to keep "
        "them, put the row back or give another --directory\n"
    )
    (tmp_path / "list.csv").write_text("MgO\nNaCl\n")
    run_intake(tmp_path / "list.csv", tmp_path / "intake.json", tmp_path / "again", tmp_path / "ranking.csv")
    assert capsys.readouterr().out == ""


# The order of the author


def test_formulas_and_ids_keep_the_order_of_their_author(tmp_path):
    entries = accept(tmp_path, "YBa2Cu3O7\nCu2ZnSnS4\nO2Ti\nCa(OH)2\n", max_atoms=13)
    assert [(e.formula, e.id) for e in entries] == [
        ("YBa2Cu3O7", "YBa2Cu3O7"), ("Cu2ZnSnS4", "Cu2ZnSnS4"), ("O2Ti", "O2Ti"), ("CaO2H2", "CaO2H2"),
    ]  # fmt: skip
    assert entries[0].amounts == (("Ba", 2), ("Y", 1), ("Cu", 3), ("O", 7))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("TiO2,,", "O2Ti,,"),
        ("Na2O2,3,", "NaO,6,"),
        ("Na2O2,3,", "O6Na6,,true"),
        ("Ti2O4,,", "TiO2,2,"),
        ("H2O2,,", "O2H2,,"),
    ],
)
def test_one_compound_in_two_writings_is_a_duplicate(tmp_path, first, second):
    checked = check(tmp_path, f"formula,z,content\n{first}\n{second}\n")
    assert len(checked.accepted) == 1
    assert "asks for the same as line 2" in checked.rejected[0].reason


def test_the_peroxide_and_its_reduced_formula_are_two_requests(tmp_path):
    assert [e.formula for e in accept(tmp_path, "Na2O2\nNaO\n")] == ["Na2O2", "NaO"]


def test_a_canonical_formula_does_not_depend_on_the_writing():
    assert canonical_formula("YBa2Cu3O7") == canonical_formula("O7Cu3Ba2Y") == "Ba2YCu3O7"
    assert (canonical_formula("Na2O2"), units_of("Na2O2")) == ("NaO", 2)
    assert units_of("TiO2") == 1

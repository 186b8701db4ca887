"""The intake: what is accepted, what is rejected and in which words, and nothing else, whatever the file."""

from __future__ import annotations

import csv
import re
import string
from itertools import product
from math import gcd
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from known_structures import KNOWN, SPACE_GROUPS
from mapcsp.composition import formula_text, order_amounts
from mapcsp.elements import SUPPORTED_ELEMENTS
from mapcsp.errors import UserError
from mapcsp.formulas import rows
from mapcsp.formulas.chemistry import smact_tests
from mapcsp.formulas.intake import entry_path, read_formula_list, run_intake
from mapcsp.formulas.parse import parse_formula
from mapcsp.formulas.wording import RowError
from mapcsp.records import FormulaEntry, RejectedRow
from mapcsp.settings import IntakeSettings
from mapcsp.store import read_json, read_record, shard
from mapcsp.symmetry.detect import find_space_group
from mapcsp.symmetry.feasible import can_hold
from mapcsp.symmetry.wyckoff import space_group

REPOSITORY = Path(__file__).parents[1]
SHIPPED = REPOSITORY / "config" / "formulas.csv"
DEFAULTS = IntakeSettings()
ELEMENTS = st.sampled_from(sorted(SUPPORTED_ELEMENTS))
FILE_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


def read(folder: Path, text: str | bytes, **options) -> tuple[list[FormulaEntry], list[RejectedRow]]:
    path = folder / "list.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_formula_list(path, IntakeSettings(**options))


def accept(folder: Path, text: str | bytes, **options) -> list[FormulaEntry]:
    accepted, rejected = read(folder, text, **options)
    assert rejected == []
    return accepted


def reject(folder: Path, text: str | bytes, **options) -> RejectedRow:
    accepted, rejected = read(folder, text, **options)
    assert len(rejected) == 1, (accepted, rejected)
    return rejected[0]


# Formulas


@pytest.mark.parametrize(
    ("text", "amounts"),
    [
        ("NaCl", {"Na": 1, "Cl": 1}),
        ("Ca(OH)2", {"Ca": 1, "O": 2, "H": 2}),
        ("K4[Fe(CN)6]", {"K": 4, "Fe": 1, "C": 6, "N": 6}),
        ("CH3COOH", {"C": 2, "H": 4, "O": 2}),
        ("Ti1 O2", {"Ti": 1, "O": 2}),
        ("TiO₂", {"Ti": 1, "O": 2}),
        ("CO", {"C": 1, "O": 1}),
        ("Co", {"Co": 1}),
        (" Pb4O4 ", {"Pb": 4, "O": 4}),
    ],
)
def test_a_formula_is_read(text, amounts):
    assert parse_formula(text) == amounts


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "NaCl2)",
            r"'NaCl2\)' is not a formula \(unbalanced '\)' at character 6\); fix the row or delete it",
        ),
        ("(NaCl", r"unbalanced '\('"),
        ("(NaCl]2", r"unbalanced '\]'"),
        ("Na()2Cl", "empty brackets"),
        ("Xx2O", "'Xx' at character 1 is not an element"),
        ("NACL", "'A' at character 2 is not an element"),
        ("nacl", "an element symbol begins with a capital letter"),
        ("D2O", "isotopes are not told apart; write H"),
        ("T2", "isotope"),
        ("Na+Cl-", r"'\+' at character 3: charges and oxidation states are no part"),
        ("Fe0.5O", "amounts must be whole numbers"),
        ("Fe1.5O", "amounts must be whole numbers"),
        ("Na0Cl", "the amount '0' is zero"),
        ("Na01Cl", "begins with a zero"),
        ("2NaCl", "follows no element"),
        ("Na 2", "follows no element"),
        ("Na99999", "larger than any cell"),
        ("СO2", r"'С' at character 1 is U\+0421, CYRILLIC CAPITAL LETTER ES"),
        ("ＮaCl", "FULLWIDTH LATIN CAPITAL LETTER N"),
        ("Na\u200bCl", r"U\+200B, ZERO WIDTH SPACE"),
        ("Na\u202eCl", "RIGHT-TO-LEFT OVERRIDE"),
        ("Na²Cl", "SUPERSCRIPT TWO"),
        ("Na٢Cl", "ARABIC-INDIC DIGIT TWO"),
        ("NaCl; rm -rf ~", r"unexpected ';'"),
        ("$(touch x)", r"unexpected '\$'"),
        ("../../etc/passwd", "amounts must be whole numbers"),
        ("PoO2", "holds Po, which the potential was not trained on"),
        ("AmO2", "holds Am, which"),
        ("", "the formula is empty"),
        ("H" * 201, "has 201 characters, expected at most 200"),
    ],
)
def test_what_is_no_formula_is_refused_in_words(text, reason):
    with pytest.raises(RowError, match=reason):
        parse_formula(text)


AMOUNTS = st.dictionaries(ELEMENTS, st.integers(1, 9), min_size=1, max_size=4)


@given(AMOUNTS, st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_a_formula_in_any_order_gives_its_amounts_back(amounts, random):
    items = list(amounts.items())
    random.shuffle(items)
    assert parse_formula("".join(f"{s}{n}" for s, n in items)) == amounts


@given(AMOUNTS.filter(lambda a: not a.keys() & {"He", "Ne", "Ar"}))
@settings(max_examples=100, deadline=None)
def test_elements_are_in_the_order_of_pymatgen(amounts):
    from pymatgen.core import Composition

    expected = " ".join(f"{s}{n}" for s, n in order_amounts(amounts))
    assert Composition(amounts).formula == expected


def test_a_formula_is_written_without_brackets_and_ones():
    assert formula_text(order_amounts(parse_formula("Ca(OH)2"))) == "CaH2O2"


# Z, space group, limits


def test_a_reduced_formula_is_allowed_every_z_that_fits(tmp_path):
    (entry,) = accept(tmp_path, "TiO2\n")
    assert (entry.formula, entry.z_allowed, entry.z_given) == ("TiO2", (1, 2, 3, 4), False)


def test_a_cell_content_fixes_z(tmp_path):
    (entry,) = accept(tmp_path, "Pb4O4\n")
    assert (entry.formula, entry.amounts) == ("PbO", (("Pb", 1), ("O", 1)))
    assert (entry.z_allowed, entry.z_given, entry.as_given) == ((4,), True, "Pb4O4")


def test_the_column_z_fixes_z(tmp_path):
    (entry,) = accept(tmp_path, "formula,z\nTiO2,2\n")
    assert (entry.z_allowed, entry.z_given, entry.id) == ((2,), True, "TiO2_z2")


def test_a_number_as_a_spreadsheet_writes_it_is_read(tmp_path):
    (entry,) = accept(tmp_path, "formula,z,space_group\nTiO2,2.0,136.0\n")
    assert (entry.z_allowed, entry.space_group) == ((2,), 136)


def test_a_cell_content_and_an_equal_z_agree(tmp_path):
    (entry,) = accept(tmp_path, "formula,z\nTi2O4,2\n")
    assert entry.z_allowed == (2,)


def test_a_space_group_leaves_only_the_z_it_can_hold(tmp_path):
    (entry,) = accept(tmp_path, "formula,space_group\nNaCl,225\n")
    # In the primitive cell 4a and 4b hold one atom each, 8c two: 1 + 1 and 2 + (1 + 1) fit, 3 + 3 does not.
    assert entry.z_allowed[:2] == (1, 2)
    assert 3 not in entry.z_allowed


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("TiO2,,0,", "z is '0', expected a whole number"),
        ("TiO2,,-1,", "z is '-1', expected a whole number"),
        ("TiO2,,1.5,", "z is '1.5', expected a whole number"),
        ("TiO2,,two,", "z is 'two', expected a whole number"),
        ("Ti2O4,,3,", "'Ti2O4' is 2 formula units of TiO2, but the column z says 3"),
        ("TiO2,,5,", "5 formula units of TiO2 are 15 atoms .* intake.max_atoms is 12; raise it to 15"),
        ("TiO2,,9,", "27 atoms .* 24 is the most; delete the row"),
        ("MgAl2O4Si4O8,,,", "one formula unit .* 19 atoms.* intake.max_atoms is 12"),
        ("TiO2,,,0", "space group is '0', expected a number from 1 to 230"),
        ("TiO2,,,231", "space group is '231'"),
        ("TiO2,,,Fm-3x", "space group is 'Fm-3x', .* a symbol such as P2_1/c; did you mean Fm-3"),
        (
            "Na4Cl4,,,225",
            r"space group 225 cannot hold NaCl with z = 4 .* it could with z = 1, 2, 6; correct",
        ),
        (
            "SrTiO3,,1,230",
            "SrTiO3 with z = 1 .* least that it could is z = 8 .40 atoms .* is 12, and 24 is the most; correct",
        ),
        ("TiO2,a/b,,", "the id 'a/b' cannot name a file"),
        ("TiO2,..,,", "cannot name a file"),
        ("TiO2,-rf,,", "cannot name a file"),
        ("TiO2,.hidden,,", "cannot name a file"),
        ("TiO2,$(id),,", "cannot name a file"),
        ("TiO2,Тitania,,", "cannot name a file"),
        (f"TiO2,{'a' * 101},,", "cannot name a file"),
        (",name,1,1", "the formula is empty"),
        ("TiO2,,,,extra", "the row has 5 columns, expected 4"),
        ('"TiO2,,', "the row is not CSV"),
        ("Na\x00Cl,,,", r"'Na\\x00Cl' is not a formula"),
    ],
)
def test_a_bad_row_is_rejected_with_its_line_and_reason(tmp_path, row, reason):
    accepted, rejected = read(tmp_path, f"formula,id,z,space_group\nNaCl,,,\n{row}\nKCl,,,\n")
    assert [e.formula for e in accepted] == ["NaCl", "KCl"]
    assert [r.line for r in rejected] == [3]
    assert re.search(reason, rejected[0].reason), rejected[0].reason


def test_more_atoms_are_accepted_when_the_setting_is_raised(tmp_path):
    (entry,) = accept(tmp_path, "MgAl2O4\n", max_atoms=14)
    assert entry.z_allowed == (1, 2)


# Duplicates and ids


@pytest.mark.parametrize("second", ["Ti2O4,b,,", "O4Ti2,b,,", "TiO2,b,2,"])
def test_the_same_request_twice_is_a_duplicate_of_the_first(tmp_path, second):
    rejected = reject(tmp_path, f"formula,id,z,space_group\nTiO2,a,2,\n{second}\n")
    assert rejected.line == 3
    assert "asks for the same as line 2" in rejected.reason


def test_another_z_or_space_group_is_another_request(tmp_path):
    entries = accept(tmp_path, "formula,z,space_group\nTiO2,,\nTiO2,2,\nTiO2,2,136\nTiO2,,136\n")
    assert [e.id for e in entries] == ["TiO2", "TiO2_z2", "TiO2_z2_sg136", "TiO2_sg136"]


def test_ids_that_differ_in_case_alone_are_duplicates(tmp_path):
    rejected = reject(tmp_path, "formula,id\nTiO2,Rutile\nSiO2,rutile\n")
    assert "the id 'rutile' is that of line 2" in rejected.reason


def test_cobalt_and_carbon_monoxide_get_ids_that_differ_without_case(tmp_path):
    assert [e.id for e in accept(tmp_path, "Co\nCO\n")] == ["Co", "C1O1"]


def test_a_rejected_row_does_not_block_a_later_one(tmp_path):
    accepted, rejected = read(tmp_path, "formula,id,space_group\nTiO2,a,999\nTiO2,a,136\n")
    assert [e.line for e in accepted] == [3]
    assert [r.line for r in rejected] == [2]


# Files


@pytest.mark.parametrize(
    "text",
    [
        "formula,id,z,space_group\nNaCl,,,\nTiO2,rutile,2,136\n",
        "\ufeffformula,id,z,space_group\nNaCl,,,\nTiO2,rutile,2,136\n",
        "formula,id,z,space_group\r\nNaCl,,,\r\nTiO2,rutile,2,136\r\n",
        "formula,id,z,space_group\rNaCl,,,\rTiO2,rutile,2,136",
        "# a comment\n\nformula,id,z,space_group\n\n  # another\nNaCl\n,,,\nTiO2,rutile,2,136",
        'formula,id,z,space_group\n"NaCl",,,\n"TiO2","rutile","2","136"\n',
        "Formula;ID;Z;Space Group\nNaCl;;;\nTiO2;rutile;2;136\n",
        "formula\tid\tz\tspacegroup\nNaCl\t\t\t\nTiO2\trutile\t2\t136\n",
        ",formula,space-group,z,id\n0,NaCl,,,\n1,TiO2,136,2,rutile\n",
    ],
)
def test_every_dialect_gives_the_same_entries(tmp_path, text):
    entries = accept(tmp_path, text)
    assert [(e.id, e.formula, e.z_allowed, e.space_group) for e in entries] == [
        ("NaCl", "NaCl", (1, 2, 3, 4, 5, 6), None),
        ("rutile", "TiO2", (2,), 136),
    ]


def test_a_row_that_ends_before_its_formula_is_rejected(tmp_path):
    accepted, rejected = read(tmp_path, "id,formula\na\nb,NaCl\n")
    assert [e.id for e in accepted] == ["b"]
    assert rejected == [RejectedRow(2, "a", "the formula is empty; fill it in or delete the row")]


def test_a_plain_list_has_one_formula_a_line(tmp_path):
    entries = accept(tmp_path, "# generated\nNaCl\n\n Ti2O4 \nMgB2")
    assert [(e.line, e.id) for e in entries] == [(2, "NaCl"), (4, "TiO2_z2"), (5, "MgB2")]


def test_columns_without_a_header_are_rejected_with_the_header_to_write(tmp_path):
    _, rejected = read(tmp_path, "NaCl,1\nTiO2,2\n")
    assert [r.line for r in rejected] == [1, 2]
    assert "begin the file with the line 'formula,id,z,space_group'" in rejected[0].reason


def test_bytes_that_are_not_utf8_spoil_only_their_row(tmp_path):
    accepted, rejected = read(tmp_path, b"NaCl\nTiO\xb2\nMgB2\n")
    assert [e.formula for e in accepted] == ["NaCl", "MgB2"]
    assert rejected == [
        RejectedRow(
            2, r"TiO\udcb2", "the row is not UTF-8 text; save the list as UTF-8 or type the row again"
        )
    ]


def test_a_line_of_ten_megabytes_spoils_only_its_row(tmp_path):
    accepted, rejected = read(tmp_path, "NaCl\n" + "H" * 10_000_000 + "\nMgB2\n")
    assert [e.line for e in accepted] == [1, 3]
    assert rejected[0].line == 2
    assert len(rejected[0].content) < 250
    assert rejected[0].reason == "the row has 10000000 characters, expected at most 10000; delete it"


def test_a_million_rows_are_an_error_that_says_how_many_are_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "MAX_ROWS", 1000)
    with pytest.raises(UserError, match=r"list.csv has more than 1,000 rows; split it"):
        read(tmp_path, "\n".join(["Xx"] * 1_000_000))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "has no formula"),
        (b"\n# only a comment\n", "has no formula"),
        (b"formula,z\n", "has no formula"),
        (b"formula,z,Z\nNaCl,1,1\n", "several columns for `z`, 'z', 'Z'; expected one"),
        (b"id,z\na,1\n", "no column `formula`"),
        ("NaCl\n".encode("utf-16-le"), "is not UTF-8 text; save it as UTF-8"),
        (b"PK\x03\x04xl/workbook.xml", "is a spreadsheet or archive"),
    ],
)
def test_a_file_that_is_no_list_is_one_line_of_error(tmp_path, data, reason):
    with pytest.raises(UserError, match=reason) as caught:
        read(tmp_path, data)
    assert "\n" not in str(caught.value)


def test_a_missing_list_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(UserError, match="does not exist or is not a file"):
            read_formula_list(path, DEFAULTS)


# smact's tests


@pytest.mark.parametrize(
    ("formula", "neutral", "balanced"),
    [
        ("NaCl", True, True),
        ("Fe3O4", True, True),
        ("NaCl2", False, False),
        ("AlNi3", True, False),
        ("Si", None, None),
        ("HeO", None, None),
    ],
)
def test_smacts_tests_are_two_columns(formula, neutral, balanced):
    tests = smact_tests(order_amounts(parse_formula(formula)))
    assert (tests.charge_neutral, tests.electronegativity_balanced) == (neutral, balanced)


@given(
    st.dictionaries(ELEMENTS, st.integers(1, 3), min_size=2, max_size=3).filter(
        lambda a: sum(a.values()) <= 6
    )
)
@settings(max_examples=100, deadline=None)
@example({"Fe": 3, "O": 4})
@example({"Cs": 1, "Au": 1})
@example({"N": 1, "Cl": 3})
def test_both_tests_agree_with_smact(amounts):
    from smact.screening import smact_validity

    divisor = gcd(*amounts.values())
    amounts = {symbol: n // divisor for symbol, n in amounts.items()}
    tests = smact_tests(order_amounts(amounts))
    text = formula_text(order_amounts(amounts))
    if tests.charge_neutral is not None:
        options = {"include_alloys": False, "mixed_valence": True}
        assert tests.charge_neutral == smact_validity(text, use_pauling_test=False, **options)
        if tests.electronegativity_balanced is not None:
            assert tests.electronegativity_balanced == smact_validity(text, **options)


def test_a_formula_of_many_elements_is_tested_without_trying_every_combination():
    # smact would try 10^13 combinations of oxidation states.
    symbols = [
        "Fe",
        "Mn",
        "Co",
        "Cu",
        "Ni",
        "V",
        "Ti",
        "Cr",
        "Nb",
        "Mo",
        "W",
        "Re",
        "Ru",
        "Os",
        "Sn",
        "Sb",
        "Bi",
        "O",
    ]
    assert smact_tests(tuple((symbol, 1) for symbol in symbols)).charge_neutral


def test_the_filter_rejects_what_fails_and_keeps_what_smact_cannot_tell(tmp_path):
    accepted, rejected = read(tmp_path, "NaCl\nNaCl2\nHeO\n", smact_filter=True)
    assert [e.formula for e in accepted] == ["NaCl", "HeO"]
    assert rejected[0].reason.startswith(
        "NaCl2 fails smact's charge-neutrality test and intake.smact_filter is on"
    )


# Space groups


def hold_by_search(number: int, counts: tuple[int, ...]) -> bool:
    """Slow and plain: give out positions one after the other."""
    positions = [(p.multiplicity, p.n_free > 0) for p in space_group(number).positions]

    def search(left: tuple[int, ...], index: int) -> bool:
        if not any(left):
            return True
        if index == len(positions):
            return False
        size, repeats = positions[index]
        if search(left, index + 1):
            return True
        return any(
            search((*left[:i], n - size, *left[i + 1 :]), index if repeats else index + 1)
            for i, n in enumerate(left)
            if n >= size
        )

    return search(counts, 0)


@given(st.integers(1, 230), st.lists(st.integers(1, 6), min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
@example(47, [6, 3])
@example(225, [2, 2])
def test_feasibility_agrees_with_a_plain_search(number, counts):
    assert can_hold(number, tuple(counts)) == hold_by_search(number, tuple(counts))


@given(
    st.integers(1, 230),
    st.lists(st.integers(1, 12), min_size=1, max_size=4),
    st.randoms(use_true_random=False),
)
@settings(max_examples=100, deadline=None)
def test_feasibility_does_not_depend_on_the_order_of_elements(number, counts, random):
    shuffled = list(counts)
    random.shuffle(shuffled)
    assert can_hold(number, tuple(counts)) == can_hold(number, tuple(shuffled))


@given(st.lists(st.integers(1, 24), min_size=1, max_size=5))
def test_the_triclinic_group_without_symmetry_holds_everything(counts):
    assert can_hold(1, tuple(counts))


def test_a_fixed_position_is_used_once():
    # Pm-3m: one atom each on 1a and 1b, so two elements fit and a third does not.
    assert can_hold(221, (1, 1))
    assert not can_hold(221, (1, 1, 1))


@pytest.mark.science
def test_every_crystal_of_the_validation_data_fits_its_space_group():
    pandas = pytest.importorskip("pandas")
    path = REPOSITORY.parent / "shared" / "data" / "mp_val.parquet"
    if not path.exists():
        pytest.skip("the shared data are not here")
    table = pandas.read_parquet(path, columns=["species", "space_group"])
    for species, number in zip(table["species"], table["space_group"]):
        counts = tuple(sorted(list(species).count(s) for s in set(species)))
        if sum(counts) <= 24:
            assert can_hold(int(number), counts), (number, counts)


# The stage


def run(folder: Path, text: str, name: str = "out", **options) -> Path:
    import json

    (folder / "list.csv").write_text(text)
    (folder / "intake.json").write_text(json.dumps(options))
    run_intake(folder / "list.csv", folder / "intake.json", folder / name)
    return folder / name


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_stage_writes_entries_tables_and_an_index(tmp_path):
    out = run(tmp_path, "formula,id\nTiO2,\nNaCl2),\nNaCl,salt\n")
    assert read_json(out / "index.json") == {"ids": ["TiO2", "salt"]}
    assert sorted(files(out / "entries")) == sorted(f"{shard(i)}/{i}.jsonl" for i in ("TiO2", "salt"))
    entry = read_record(entry_path(out, "salt"), FormulaEntry)
    assert (entry.formula, entry.line, entry.charge_neutral) == ("NaCl", None, True)
    with open(out / "rejected.csv", newline="") as handle:
        assert list(csv.DictReader(handle)) == [
            {
                "line": "3",
                "content": "NaCl2),",
                "reason": "'NaCl2)' is not a formula (unbalanced ')' at character 6); fix the row or delete it",
            }
        ]
    with open(out / "accepted.csv", newline="") as handle:
        table = list(csv.DictReader(handle))
    assert [(r["line"], r["id"], r["z_allowed"], r["charge_neutral"]) for r in table] == [
        ("2", "TiO2", "1 2 3 4", "true"),
        ("4", "salt", "1 2 3 4 5 6", "true"),
    ]


def test_a_row_put_in_front_leaves_the_files_of_the_others_alone(tmp_path):
    before = files(run(tmp_path, "NaCl\nTiO2\n") / "entries")
    after = files(run(tmp_path, "MgB2\nNaCl\nTiO2\n", "again") / "entries")
    assert before.items() <= after.items()
    assert len(after) == 3


def test_a_list_without_any_good_row_is_one_line_of_error(tmp_path):
    with pytest.raises(
        UserError, match=r"list.csv: none of its 2 rows can be used; line 1: 'NaCl2\)' is"
    ) as caught:
        run(tmp_path, "NaCl2)\nXx\n")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_each_row_of_the_shipped_list_fits_its_known_structure():
    accepted, rejected = read_formula_list(SHIPPED, DEFAULTS)
    assert rejected == []
    assert [e.id for e in accepted] == list(KNOWN)
    for entry in accepted:
        crystal = KNOWN[entry.id]()
        number = find_space_group(crystal, symprec_ang=0.01)
        assert number == SPACE_GROUPS[entry.id]
        assert entry.space_group in (None, number)
        z = crystal.n_atoms // sum(n for _, n in entry.amounts)
        assert z in entry.z_allowed
        assert {s: crystal.species.count(s) for s in set(crystal.species)} == {
            s: z * n for s, n in entry.amounts
        }


# Any file at all

SYMBOLS = st.sampled_from(["Na", "Cl", "Ti", "O", "C", "Co", "Xx", "D", "Po", "Am", "С", "na", "H"])
AMOUNT = st.sampled_from(["", "1", "2", "3", "0", "0.5", "12", "99999", "₂", "+", "-2", "²"])
PIECE = st.one_of(SYMBOLS, AMOUNT, st.sampled_from(list("()[]{} ·*;$`'\"\\/|&<>\t")))
FORMULA = st.one_of(
    st.lists(st.tuples(SYMBOLS, AMOUNT).map("".join), max_size=4).map("".join),
    st.lists(PIECE, max_size=8).map("".join),
    st.text(max_size=20),
)
NUMBER = st.one_of(st.just(""), st.integers(-3, 300).map(str), st.text(string.printable, max_size=6))
IDENTIFIER = st.one_of(
    st.just(""), st.sampled_from(["a", "A", "..", "-x", "a b", "x/y", "con"]), st.text(max_size=8)
)
HEADER = st.one_of(
    st.just("formula,id,z,space_group"),
    st.lists(st.sampled_from(["formula", "id", "z", "space_group", "", "x"]), max_size=5).map(",".join),
    st.text(max_size=20),
)
LINE = st.one_of(
    st.tuples(FORMULA, IDENTIFIER, NUMBER, NUMBER).map(",".join),
    FORMULA,
    st.text(max_size=40),
)
TEXT = st.tuples(
    st.sampled_from(["", "\ufeff"]), HEADER, st.lists(LINE, max_size=8), st.sampled_from(["\n", "\r\n", "\r"])
).map(lambda p: p[0] + p[3].join([p[1], *p[2]]))
DATA = st.one_of(
    TEXT.map(lambda t: t.encode("utf-8", "surrogatepass")),
    TEXT.map(lambda t: t.encode("utf-16", "surrogatepass")),
    st.binary(max_size=200),
)


def check_any_file(path: Path, data: bytes, options: IntakeSettings) -> None:
    """Every row ends accepted or rejected, with a reason, or the file as a whole is a UserError of one line."""
    path.write_bytes(data)
    try:
        accepted, rejected = read_formula_list(path, options)
    except UserError as error:
        assert "\n" not in str(error)
        return
    text = rows.decode_list(data)
    lines = dict(enumerate(text.split("\n"), start=1))
    used = sorted([e.line for e in accepted] + [r.line for r in rejected])
    assert len(set(used)) == len(used)
    skipped = [lines[n] for n in lines.keys() - set(used)]
    # What is left over is blank, a comment, only delimiters, or the one header.
    headers = [
        s
        for s in skipped
        if s.strip(" ,;|:-\t\"'\x1c\x1d\x1e\x1f\x85\xa0\v\f\u2028\u2029").strip() and s.lstrip()[0] != "#"
    ]
    # A cell in quotes may go over several lines, which then are one row.
    if '"' not in text:
        assert len([h for h in headers if "formula" not in h.lower()]) == 0
        assert len(headers) <= 1
    assert len({e.id.lower() for e in accepted}) == len(accepted)
    for entry in accepted:
        assert FILE_SAFE.fullmatch(entry.id)
        assert entry.z_allowed
        assert {s for s, _ in entry.amounts} <= SUPPORTED_ELEMENTS
        assert max(entry.z_allowed) * sum(n for _, n in entry.amounts) <= options.max_atoms
        if entry.space_group is not None:
            assert all(
                can_hold(entry.space_group, tuple(z * n for _, n in entry.amounts)) for z in entry.z_allowed
            )
    for row in rejected:
        assert row.reason
        for part in (row.reason, row.content):
            assert part.isprintable(), part
            part.encode("utf-8")


FUZZ = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}


@given(DATA, st.builds(IntakeSettings, max_atoms=st.integers(1, 24), smact_filter=st.booleans()))
@settings(max_examples=500, **FUZZ)
def test_any_file_is_accepted_rejected_or_refused(tmp_path, data, options):
    check_any_file(tmp_path / "list.csv", data, options)


@pytest.mark.science
@given(DATA, st.builds(IntakeSettings, max_atoms=st.integers(1, 24), smact_filter=st.booleans()))
@settings(max_examples=10_000, **FUZZ)
def test_any_of_ten_thousand_files_is_accepted_rejected_or_refused(tmp_path, data, options):
    check_any_file(tmp_path / "list.csv", data, options)


def test_every_short_formula_ends_as_accepted_or_rejected():
    for text in map("".join, product("NaOC(2)₂+ ", repeat=4)):
        try:
            assert set(parse_formula(text)) <= SUPPORTED_ELEMENTS
        except RowError as error:
            assert str(error).isprintable()

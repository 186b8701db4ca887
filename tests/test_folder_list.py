"""What a folder's list holds after one call of `predict` and the next: nothing goes without being said."""

from __future__ import annotations

from pathlib import Path

import pytest
from mapcsp.api import run
from mapcsp.api.folder_list import FolderList, folder_list
from mapcsp.api.formulas import formula_rows, list_text
from mapcsp.errors import UserError
from mapcsp.formulas.intake import check_formula_list
from mapcsp.settings import IntakeSettings

DEFAULTS = IntakeSettings()


def add(folder: Path, *formulas: str, fresh: bool = False, z: int | None = None, **options) -> FolderList:
    rows = formula_rows(formulas, z, None, None)
    return write(folder, folder_list(folder, "formulas.csv", rows, IntakeSettings(**options), fresh))


def add_list(folder: Path, text: str, fresh: bool = False) -> FolderList:
    (folder / "mine.csv").write_text(text)
    return write(folder, folder_list(folder, "formulas.csv", folder / "mine.csv", DEFAULTS, fresh))


def write(folder: Path, found: FolderList) -> FolderList:
    (folder / "formulas.csv").write_text(found.text)
    return found


def ids(folder: Path) -> list[str]:
    return [entry.id for entry in check_formula_list(folder / "formulas.csv", DEFAULTS).accepted]


def test_formulas_of_an_earlier_call_stay(tmp_path):
    first, second = add(tmp_path, "NaCl"), add(tmp_path, "MgO", "CaO")
    assert (first.asked, first.kept) == (("NaCl",), ())
    assert (second.asked, second.kept) == (("MgO", "CaO"), ("NaCl",))
    assert ids(tmp_path) == ["NaCl", "MgO", "CaO"]


def test_the_same_call_again_changes_no_byte(tmp_path):
    add(tmp_path, "NaCl", "MgO")
    before = add(tmp_path, "CaO", z=1).text
    assert add(tmp_path, "MgO").text == before
    assert add(tmp_path, "MgO").asked == ("MgO",)
    assert add(tmp_path, "CaO", z=1).text == before


def test_replace_starts_anew(tmp_path):
    add(tmp_path, "NaCl")
    assert add(tmp_path, "MgO", fresh=True).kept == ()
    assert ids(tmp_path) == ["MgO"]


def test_one_compound_in_another_order_takes_the_place_of_the_earlier_one(tmp_path):
    add(tmp_path, "TiO2", "NaCl")
    assert add(tmp_path, "O2Ti").asked == ("O2Ti",)
    assert ids(tmp_path) == ["O2Ti", "NaCl"]


def test_carbon_monoxide_does_not_take_the_place_of_cobalt(tmp_path):
    add(tmp_path, "Co")
    assert add(tmp_path, "CO").asked == ("C1O1",)
    assert ids(tmp_path) == ["Co", "C1O1"]


def test_a_list_in_a_fresh_folder_is_copied_as_it_is(tmp_path):
    text = "# mine\nformula;id\nNaCl;salt\nXx;\n"
    assert add_list(tmp_path, text).text == text


def test_a_list_joins_formulas_given_by_hand_and_the_other_way_round(tmp_path):
    add(tmp_path, "MgO")
    assert add_list(tmp_path, "formula;id;sg\nNaCl;salt;Fm-3m\n").kept == ("MgO",)
    assert add(tmp_path, "CaO").kept == ("MgO", "salt")
    assert ids(tmp_path) == ["MgO", "salt", "CaO"]


def test_an_id_that_gets_another_formula_is_said(tmp_path):
    add_list(tmp_path, "formula,id\nTiO2,a\nMgO,b\n")
    found = add_list(tmp_path, "formula,id\nSiO2,a\n")
    assert found.notes == (f"{tmp_path}: 'a' was TiO2 and is SiO2 from now on",)
    assert (found.asked, found.kept) == (("a",), ("b",))


def test_settings_that_would_lose_an_earlier_result_are_refused(tmp_path):
    add(tmp_path, "Ti5O9", max_atoms=14)
    accepted = tmp_path / "results/intake/accepted.csv"
    accepted.parent.mkdir(parents=True)
    accepted.write_text("id,as_given\nTi5O9,Ti5O9\n")
    with pytest.raises(
        UserError, match="holds 'Ti5O9' of an earlier call, which these settings reject.*--replace"
    ):
        add(tmp_path, "NaCl")
    assert add(tmp_path, "NaCl", max_atoms=14).kept == ("Ti5O9",)


def test_an_earlier_row_that_never_had_a_result_is_dropped(tmp_path):
    add_list(tmp_path, "formula,id\nNaCl,a\nXx,b\n")
    add(tmp_path, "MgO")
    assert ids(tmp_path) == ["a", "MgO"]


def test_a_list_of_rows_is_written_and_read_back(tmp_path):
    rows = formula_rows(["Ti2O4", "K4[Fe(CN)6]"], 2, "P2_1/c", False)
    (tmp_path / "formulas.csv").write_text(list_text(rows))
    assert (tmp_path / "formulas.csv").read_text().splitlines() == [
        "formula,id,z,space_group,content",
        "Ti2O4,,2,P2_1/c,false",
        "K4[Fe(CN)6],,2,P2_1/c,false",
    ]


def test_predict_says_what_it_keeps_and_returns_what_was_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_run_workflow", lambda folder, cores: None)
    run.predict("NaCl", out=tmp_path / "run")
    said: list[str] = []
    results = run.predict("Ti2O4", out=tmp_path / "run", say=said.append)
    assert results.asked == ("TiO2_z2",)
    assert said == list(results.notes)
    assert said[0].startswith("read as the content of a cell, which fixes z: Ti2O4 (2 TiO2)")
    assert said[1] == "run keeps NaCl of earlier calls; --replace (replace=True) would leave them out"
    changed = run.predict("MgO", out=tmp_path / "run", top=3)
    assert changed.notes == (
        "run keeps NaCl, TiO2_z2 of earlier calls, and computes them anew where the settings have changed; "
        "--replace (replace=True) would leave them out",
    )
    ranking = tmp_path / "run/results/ranking/ranking.csv"
    ranking.parent.mkdir(parents=True)
    ranking.write_text("id,formula,rank\nNaCl,NaCl,1\nMgO,MgO,1\n")
    assert changed.table["id"].tolist() == ["MgO"]
    assert run.PredictionResults(tmp_path / "run").table["id"].tolist() == ["NaCl", "MgO"]

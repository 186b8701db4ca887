"""A run is repeated from what its report holds: the same list, the same settings, the same bytes."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from mapcsp.errors import UserError
from mapcsp.report.repeat import LARGEST_INSIDE_BYTES, formula_list, repetition
from mapcsp.settings import SECTIONS
from mapcsp.store import write_csv
from pipeline import SNAKEMAKE, Run
from pymatgen.core import Lattice, Structure

# Ids of the user's, two requests of one formula, elements in another order, a cell's content, a space group, a row
# twice, and rows that are refused: before, between and after those that are used.
LIST = """formula,id,z,space_group
not a formula,,,
NaCl,salt 1,1,
NaCl,salt-1,1,
ClNa,any-z,,
Mg2O2,,,
MgO,magnesia,,225
MgO,again,1,225
MgO,twice,1,225
Og,,,
"""
CONFIG = (
    "seed=7",
    "reconstruct={population: 20, max_evaluations: 200, candidates_per_task: 3, "
    "seed_structures: [crystals/rock salt.cif, other/rock salt.cif]}",
    "relax={max_steps: 3, hull_table: tables/phases.csv}",
    "ranking={top_k: 4}",
)


def downloads(page: str) -> dict[str, bytes]:
    """The files that the page offers beside its command."""
    part = page[page.index("to repeat it") :]
    links = re.findall(r'download="([^"]+)" href="data:[^;"]*;base64,([^"]*)"', part[: part.index("</dd>")])
    return {html.unescape(name): base64.b64decode(text) for name, text in links}


def command(page: str) -> list[str]:
    """The command that the page shows."""
    (shown,) = [c for c in re.findall(r"<code>([^<]*)</code>", page) if c.startswith("snakemake ")]
    return shlex.split(html.unescape(shown))


def contents(run: Path, *parts: str) -> dict[str, bytes]:
    """Bytes of every file of some parts of the results."""
    files = [p for part in parts for p in sorted((run / "results" / part).rglob("*")) if p.is_file()]
    return {str(p.relative_to(run)): p.read_bytes() for p in files if not p.name.startswith(".snakemake")}


@pytest.fixture(scope="module")
def first(finished, tmp_path_factory) -> Run:
    run = Run(finished.repository, tmp_path_factory.mktemp("first run"))
    for folder, length in (("crystals", 5.64), ("other", 4.2)):
        (run.folder / folder).mkdir()
        salt = Structure.from_spacegroup(
            "Fm-3m", Lattice.cubic(length), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
        )
        salt.to(str(run.folder / folder / "rock salt.cif"), fmt="cif", symprec=0.01)
    (run.folder / "tables").mkdir()
    (run.folder / "tables/phases.csv").write_text("formula,formation_energy_per_atom\nNaCl,-2\nMgO,-3\n")
    (run.folder / "my list.csv").write_text(LIST)
    done = run.snakemake(config=CONFIG)
    assert done.returncode == 0, done.stdout
    return run


@pytest.mark.workflow
@pytest.mark.xdist_group("workflow")
def test_the_reports_command_and_files_give_the_same_bytes(first, tmp_path):
    page = first.result("report/index.html").read_text()
    folder = tmp_path / "second run"
    folder.mkdir()
    for name, content in downloads(page).items():
        (folder / name).write_bytes(content)
    program, *options = command(page)
    assert program == "snakemake"
    places = ["--snakefile", str(first.repository / "Snakefile"), "--directory", str(folder)]
    # Elsewhere than the first run, so that nothing of it can be found.
    done = subprocess.run(
        [*SNAKEMAKE, *places, *options], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ids = {row["id"] for row in csv.DictReader(io.StringIO((folder / "formulas.csv").read_text()))}
    assert ids == {"salt-1", "any-z", "MgO_z2", "magnesia", "again"}
    parts = ("symmetry", "maps", "plan", "reconstruct", "pools", "relax", "ranking", "intake/entries")
    before, after = contents(first.folder, *parts), contents(folder, *parts)
    assert set(before) == set(after)
    assert [name for name in before if before[name] != after[name]] == []
    assert any("user_seed" in before[name].decode() for name in before if "/reconstruct/" in name)


@pytest.mark.workflow
@pytest.mark.xdist_group("workflow")
def test_the_name_of_a_row_and_the_order_of_its_elements_change_no_answer(first, tmp_path):
    """The same requests under other names and in another order: the same structures, whatever they are called."""
    run = Run(first.repository, tmp_path / "renamed")
    run.folder.mkdir()
    for folder in ("crystals", "other", "tables"):
        (run.folder / folder).symlink_to(first.folder / folder)
    (run.folder / "my list.csv").write_text("id,formula,z,space_group\nb,OMg,,225\na,NaCl,,\nc,ClNa,1,\n")
    done = run.snakemake(config=CONFIG)
    assert done.returncode == 0, done.stdout

    def answers(where: Run, identifier: str) -> list[dict[str, str]]:
        names = {"id", "formula", "candidate_id", "cif"}
        with open(where.result("ranking/ranking.csv"), newline="") as file:
            rows = [r for r in csv.DictReader(file) if r["id"] == identifier]
        return [{k: v for k, v in row.items() if k not in names} for row in rows]

    for old, new in (("magnesia", "b"), ("any-z", "a"), ("salt-1", "c")):
        assert answers(first, old) and answers(first, old) == answers(run, new)


def accepted(folder: Path, columns: tuple[str, ...], *rows: tuple) -> Path:
    write_csv(folder / "accepted.csv", columns, rows)
    return folder


def test_the_list_says_again_what_each_row_said(tmp_path):
    columns = ("line", "id", "formula", "as_given", "z_allowed", "z_given", "space_group")
    folder = accepted(
        tmp_path,
        columns,
        (2, "a", "NaCl", "ClNa", "1 2 3", "false", None),
        (4, "b", "TiO2", "Ti2O4", "2", "true", 136),
    )
    assert formula_list(folder) == "formula,id,z,space_group\nClNa,a,,\nTi2O4,b,2,136\n"


def test_how_a_formula_was_read_is_said_again(tmp_path):
    columns = ("line", "id", "formula", "as_given", "z_allowed", "z_given", "space_group", "read_as")
    rows = (
        (2, "a", "Na2O2", "Na2O2", "3", "true", None, "formula"),
        (3, "b", "NaO", "Na2O2", "2", "true", None, "content"),
    )
    assert formula_list(accepted(tmp_path, columns, *rows)) == (
        "formula,id,z,space_group,content\nNa2O2,a,3,,formula\nNa2O2,b,2,,content\n"
    )


@pytest.fixture
def in_folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return accepted(
        tmp_path, ("id", "as_given", "z_allowed", "z_given", "space_group"), ("a", "Si", "2", "false", None)
    )


def test_a_table_too_large_for_the_page_is_named_with_its_hash(in_folder):
    (in_folder / "all phases.csv").write_bytes(b"x" * (LARGEST_INSIDE_BYTES + 1))
    settings = {name: section().model_dump(mode="json") for name, section in SECTIONS.items()}
    settings["relax"]["hull_table"] = str(in_folder / "all phases.csv")
    found = repetition(settings, in_folder, "none")
    assert [d.file_name for d in found.files] == ["settings.json", "formulas.csv"]
    (line,) = found.elsewhere
    assert re.fullmatch(r"all phases\.csv \(SHA-256 [0-9a-f]{64}\)", line)


def test_the_second_potential_that_was_used_is_asked_for_again(in_folder):
    settings = {"rescore": {"potential": "auto", "candidates": 3}, "run": {"seed": 4}}
    text = repetition(settings, in_folder, "sevennet-l3i5 0123456789ab").files[0].uri.partition("base64,")[2]
    assert json.loads(base64.b64decode(text)) == {
        "rescore": {"candidates": 3, "potential": "sevennet-l3i5"},
        "seed": 4,
    }


def test_a_file_that_is_gone_is_named(in_folder):
    with pytest.raises(UserError, match="reconstruct.seed_structures: gone.cif is no longer a file"):
        repetition({"reconstruct": {"seed_structures": ["gone.cif"]}}, in_folder, "none")

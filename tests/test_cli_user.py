"""The verbs of a user on the command line: what they print and write, and that they say the same as the Python API."""

import re
import sys
from pathlib import Path

import pandas as pd
import pytest
from known_structures import rock_salt
from mapcsp import cli
from mapcsp.api import run
from mapcsp.cli.options import read_overrides
from mapcsp.crystals import to_structure
from mapcsp.errors import UserError
from mapcsp.store import read_maps
from pymatgen.core import Structure
from pymatgen.io.vasp import Poscar

POTENTIAL = Path(__file__).parents[1] / "resources/potentials/m3gnet.safetensors"
# What a run needs at least; see test_workflow.py.
SHRUNKEN = (
    "symmetry.n_labels=4",
    "symmetry.max_space_groups=1",
    "symmetry.max_z=1",
    "reconstruct.population=10",
    "reconstruct.max_evaluations=100",
    "pool.size=2",
    "relax.max_steps=3",
    "rescore.potential=none",
)


@pytest.fixture
def mapcsp(tmp_path, monkeypatch, capfd):
    """Runs a command in a folder with salt.cif, and gives what it printed."""
    monkeypatch.chdir(tmp_path)
    to_structure(rock_salt()).to(filename=str(tmp_path / "salt.cif"))
    for variable in cli.THREAD_VARIABLES:
        monkeypatch.setenv(variable, "1")

    def call(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["mapcsp", *arguments])
        cli.main()
        return capfd.readouterr().out

    return call


def table_of(printed: str) -> list[list[str]]:
    return [line.split() for line in printed.splitlines()]


def test_symmetry_prints_the_most_probable_labels_of_each_formula(mapcsp):
    printed = mapcsp("symmetry", "NaCl", "Mg2O2", "--top", "2", "--out", "labels.csv")
    heading, *rows, untried = table_of(printed)
    assert heading[:5] == ["id", "rank", "probability", "z", "group"]
    assert [row[:2] for row in rows] == [["NaCl", "1"], ["NaCl", "2"], ["MgO_z2", "1"], ["MgO_z2", "2"]]
    assert rows[0][3:6] == ["1", "Fm-3m", "225:Cl-a,Na-b"]
    written = pd.read_csv("labels.csv")
    assert len(written) > 4 and written["probability"].between(0, 1).all()
    assert f"{written['probability'][0]:.3f}" == rows[0][2]
    # z was given for Mg2O2, so that nothing of weight is left out.
    assert untried[0] == "NaCl:" and "not tried: most 12" in " ".join(untried)


def test_symmetry_of_a_given_space_group_stays_in_it(mapcsp):
    _, *rows = table_of(mapcsp("symmetry", "NaCl", "--space-group", "221", "--z", "1"))
    assert {row[4] for row in rows} == {"Pm-3m"}


def test_symmetry_of_a_list_names_rejected_rows_and_goes_on(mapcsp, tmp_path):
    (tmp_path / "my.csv").write_text("formula,z\nNaCl,1\nnonsense(,\n")
    _, *rows = table_of(mapcsp("symmetry", "--list", "my.csv", "--top", "1"))
    assert [row[0] for row in rows] == ["NaCl_z1"]


def test_maps_prints_distances_with_bonds_marked_and_writes_all_maps(mapcsp):
    printed = mapcsp("maps", "NaCl", "--z", "1", "--out", "maps").splitlines()
    assert printed[0].startswith("NaCl_z1: z 1, 225:Cl-a,Na-b, ")
    assert printed[1].split() == ["Cl", "Na"]
    name, first, second = printed[2].split()
    assert (name, first) == ("Cl", "0.00")
    assert second.endswith("*") and 2.6 < float(second.rstrip("*")) < 3.1
    found = read_maps(Path("maps/NaCl_z1.safetensors"))
    assert len(pd.read_csv("maps/maps.csv")) == len(found.maps)


@pytest.mark.skipif(not POTENTIAL.exists(), reason="the M3GNet weights are not here")
def test_relax_writes_cif_files_and_energies(mapcsp, tmp_path):
    to_structure(rock_salt()).to(filename=str(tmp_path / "POSCAR"), fmt="poscar")
    heading, *rows = table_of(mapcsp("relax", "salt.cif", "POSCAR", "--out", "relaxed"))
    assert heading[:3] == ["name", "formula", "status"]
    assert [row[:3] for row in rows] == [["salt.cif", "NaCl", "converged"], ["POSCAR", "NaCl", "converged"]]
    energies = pd.read_csv("relaxed/energies.csv")
    assert energies["energy_ev_per_atom"].tolist() == pytest.approx([-3.388, -3.388], abs=0.002)
    assert energies["formation_energy_ev_per_atom"].tolist() == pytest.approx([-2.121, -2.121], abs=0.005)
    assert energies["cif"].tolist() == ["salt.cif", "POSCAR.cif"]
    relaxed = Structure.from_file("relaxed/salt.cif")
    assert relaxed.get_primitive_structure().volume == pytest.approx(45.4, abs=0.5)


@pytest.mark.skipif(not POTENTIAL.exists(), reason="the M3GNet weights are not here")
def test_relax_has_a_row_for_each_crystal_and_ends_with_1_if_one_cannot_be_read(mapcsp, tmp_path, capfd):
    salt = (tmp_path / "salt.cif").read_text()
    (tmp_path / "bad.cif").write_text(salt.replace("0.5", "?"))
    (tmp_path / "two.cif").write_text(salt + salt)
    lines = Poscar(to_structure(rock_salt())).get_str().splitlines()
    # As a program of VASP 4 writes it: no elements, one atom fixed.
    flags = [f"{' '.join(line.split()[:3])} {flag}" for line, flag in zip(lines[8:], ("F F F", "T T T"))]
    (tmp_path / "POSCAR").write_text(
        "\n".join(["salt", *lines[1:5], lines[6], "Selective", "Direct", *flags])
    )
    with pytest.raises(SystemExit) as stopped:
        mapcsp("relax", "salt.cif", "bad.cif", "two.cif", "POSCAR", "--elements", "Na,Cl", "--out", "relaxed")
    assert stopped.value.code == 1
    printed = capfd.readouterr().out
    assert "bad.cif: the coordinate " in printed
    table = pd.read_csv("relaxed/energies.csv", keep_default_na=False).set_index("name")
    assert table["status"].to_dict() == {
        "salt.cif": "converged",
        "bad.cif": "failed",
        "two.cif#1": "converged",
        "two.cif#2": "converged",
        "POSCAR": "converged",
    }
    assert table["cif"].tolist() == ["salt.cif", "", "two_1.cif", "two_2.cif", "POSCAR.cif"]
    assert table["n_atoms"].tolist() == ["2", "", "2", "2", "2"]
    assert table.loc["POSCAR", "caution"].startswith("selective dynamics is not honoured")
    assert "POSCAR: caution: selective dynamics is not honoured: the file fixes 1 of 2 atoms" in printed


def test_score_of_a_crystal_against_itself_is_perfect_and_against_a_larger_cell_says_how_much(mapcsp):
    larger = to_structure(rock_salt()).scale_lattice(1.1 * rock_salt().volume_ang3)
    larger.to(filename="larger.cif")
    mapcsp("score", "larger.cif", "salt.cif", "--out", "score.csv")
    value = pd.read_csv("score.csv").set_index("metric")["value"]
    assert value["match_strict"] == 1 and value["rms_strict"] < 1e-6
    assert value["volume_error"] == pytest.approx(0.1, abs=1e-6)
    assert value["distance_overlap"] == 1
    mapcsp("score", "salt.cif", "salt.cif", "--out", "same.csv")
    same = pd.read_csv("same.csv").set_index("metric")["value"]
    assert same[["volume_error", "sinkhorn_ang", "ofm", "powder"]].abs().max() < 1e-6


@pytest.mark.workflow
@pytest.mark.skipif(not POTENTIAL.exists(), reason="the M3GNet weights are not here")
def test_predict_runs_the_workflow_prints_its_answer_and_the_second_time_does_nothing(mapcsp):
    command = ["predict", "NaCl", "--z", "1", "--top", "2", "--cores", "1", "--out", "my run"]
    command += [word for setting in SHRUNKEN for word in ("--set", setting)]
    printed = mapcsp(*command)
    heading, first = table_of(printed)[:2]
    assert heading[:4] == ["id", "rank", "probability", "z"]
    assert first[:2] == ["NaCl_z1", "1"]
    assert "Report      my run/results/report/index.html" in printed
    assert Path("my run/results/report/index.html").exists()
    assert len(pd.read_csv("my run/results/ranking/ranking.csv")) <= 2
    assert mapcsp(*command) == printed
    assert "Nothing to be done" in Path("my run/snakemake.log").read_text()


SNAKEFILE = """
rule all:
    log: "results/logs/all.log"
    shell: "echo '{words}' > {{log}}; exit 1"
"""


@pytest.mark.workflow
@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (
            "ZeroDivisionError: a bug",
            1,
            "mapcsp: a job failed, which is a bug or .*; see .*all.log and .*snakemake.log",
        ),
        ("mapcsp: error: no room on the disk", 2, "mapcsp: error: no room on the disk"),
    ],
)
def test_a_failed_job_ends_with_its_own_words(mapcsp, tmp_path, monkeypatch, capfd, words, status, line):
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(words=words))
    monkeypatch.setattr(run, "snakefile", lambda: tmp_path / "Snakefile")
    with pytest.raises(SystemExit) as stopped:
        mapcsp("predict", "NaCl", "--cores", "1")
    assert stopped.value.code == status
    printed = capfd.readouterr().err.splitlines()
    assert re.fullmatch(line, printed[-1])
    assert words in "\n".join(printed)


def test_settings_of_a_file_are_changed_by_set(tmp_path):
    (tmp_path / "c.yaml").write_text("ranking: {top_k: 3, rank_by: energy}\nseed: 5\n")
    found = read_overrides(
        tmp_path / "c.yaml", ["ranking.top_k=7", "formulas=a=b.csv", "relax.fmax_ev_per_ang=.1"]
    )
    assert found == {
        "ranking": {"top_k": 7, "rank_by": "energy"},
        "seed": 5,
        "formulas": "a=b.csv",
        "relax": {"fmax_ev_per_ang": 0.1},
    }
    with pytest.raises(UserError, match="expected KEY=VALUE"):
        read_overrides(None, ["top_k"])

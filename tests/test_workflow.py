"""The real pipeline on two small formulas, and what runs again after each kind of change.

The pipeline runs once a session, with shrunken settings, from a copy of the repository that tests may edit.
"""

import csv
import json
import re
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
from pipeline import SNAKEMAKE, Run, copy_run, edited

# One worker: the pipeline runs once.
pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def plan_table(run: Run, name: str) -> dict:
    return json.loads(run.result(f"plan/{name}.json").read_text())


def test_every_accepted_formula_is_ranked_and_the_rejected_row_says_why(finished):
    ranking = rows(finished.result("ranking/ranking.csv"))
    failed = rows(finished.result("ranking/failed.csv"))
    assert {r["id"] for r in ranking} | {r["id"] for r in failed} == {"NaCl_z1", "MgO_z1"}
    assert {r["id"] for r in ranking} == {"NaCl_z1", "MgO_z1"}
    (rejected,) = rows(finished.result("intake/rejected.csv"))
    assert rejected["line"] == "4" and "not a formula" in rejected["reason"]


def test_every_ranked_structure_has_its_cif(finished):
    for row in rows(finished.result("ranking/ranking.csv")):
        assert "_cell_length_a" in finished.result(f"ranking/{row['cif']}").read_text()


def test_the_report_names_every_formula(finished):
    page = finished.result("report/index.html").read_text()
    assert "NaCl" in page and "MgO" in page


def test_one_job_for_each_formula_and_space_group(finished):
    buckets = plan_table(finished, "buckets")
    assert all(len(files) == 1 for files in buckets.values())
    folder = finished.result("reconstruct")
    found = {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.jsonl")}
    assert found == set(buckets)


def test_nothing_runs_when_nothing_changed(finished):
    done = finished.snakemake("--dry-run")
    assert "Nothing to be done" in done.stdout
    assert finished.jobs() == {}


def test_nothing_runs_when_called_from_another_folder(finished, monkeypatch):
    monkeypatch.chdir(finished.repository / "config")
    aside = Run(Path(".."), Path("../../run folder"))
    assert aside.jobs() == {}


def test_a_change_of_the_ranking_reruns_ranking_and_report_alone(finished):
    assert finished.jobs(config=("ranking={top_k: 1}",)) == {"rank": 1, "report": 1}


def test_a_change_of_the_title_reruns_the_report_alone(finished):
    assert finished.jobs(config=("report={title: Other}",)) == {"report": 1}


def test_a_change_of_the_relaxation_reruns_it_and_what_follows(finished):
    smaller = ("relax={max_steps: 2}",)
    assert finished.jobs(config=smaller) == {"relax": 2, "rank": 1, "report": 1}


def test_an_edited_table_of_phases_measures_the_hull_anew_and_relaxes_nothing(finished, tmp_path):
    def above_hull(formula: str) -> float:
        table = rows(run.result("ranking/ranking.csv"))
        return float(next(r["energy_above_hull_ev_per_atom"] for r in table if r["formula"] == formula))

    def relaxations() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in run.result("finished/relax").rglob("*.json*")}

    run = copy_run(finished, tmp_path / "run folder")
    phases, config = run.folder / "phases.csv", ("relax={max_steps: 3, hull_table: phases.csv}",)
    phases.write_text("formula,formation_energy_per_atom\nNaCl,-2\nMgO,-3\n")
    done = run.snakemake(config=config)
    assert done.returncode == 0, done.stdout
    salt, magnesia, relaxed = above_hull("NaCl"), above_hull("MgO"), relaxations()
    assert relaxed
    phases.touch()
    assert run.jobs(config=config) == {}
    phases.write_text(phases.read_text().replace("-3", "-4"))
    assert run.jobs(config=config) == {"relax": 2, "rank": 1, "report": 1}
    done = run.snakemake(config=config)
    assert done.returncode == 0, done.stdout
    assert above_hull("MgO") == pytest.approx(magnesia + 1, abs=1e-4)
    assert above_hull("NaCl") == salt
    assert relaxations() == relaxed


def test_a_default_stated_is_no_change(finished):
    assert finished.jobs(config=("ranking={top_k: 5}", "seed=1")) == {}


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("report/run.py", {"report": 1}),
        ("ranking/run.py", {"rank": 1, "report": 1}),
        ("relax/fire.py", {"relax": 2, "rank": 1, "report": 1}),
        ("ga/pool.py", {"pool": 2, "relax": 2, "rank": 1, "report": 1}),
        ("ga/search.py", None),
        ("settings.py", {}),
        ("cli/stages.py", {}),
        # Of potentials that this run does not use.
        ("relax/chgnet.py", {}),
        ("relax/matgl.py", {}),
        ("relax/ase_calculators.py", {}),
        ("relax/sevennet.py", {}),
        ("relax/bayesian.py", {}),
        ("relax/m3gnet.py", {"relax": 2, "rank": 1, "report": 1}),
        ("relax/gated_bonds.py", {"relax": 2, "rank": 1, "report": 1}),
        ("cryspnet/networks.py", {}),
    ],
)
def test_an_edit_of_a_module_reruns_its_stage_and_what_follows(finished, module, expected):
    if expected is None:
        expected = {
            "reconstruct": len(plan_table(finished, "buckets")),
            "pool": 2,
            "relax": 2,
            "rank": 1,
            "report": 1,
        }
    with edited(finished.repository / "workflow/mapcsp" / module, lambda text: text + b"EDITED = 1\n"):
        assert finished.jobs() == expected


def in_other_words(source: bytes) -> bytes:
    """A file with another docstring and comments."""
    return b'"""Other words."""\n\n' + source.partition(b'"""\n')[2] + b"\n\n# A comment.\n"


@pytest.mark.parametrize(
    "modules",
    [
        ("report/run.py", "ranking/run.py", "relax/fire.py", "relax/m3gnet.py", "ga/search.py"),
        ("records.py", "crystals.py", "store/records.py", "planning/plan.py", "formulas/intake.py"),
    ],
)
def test_an_edit_of_words_reruns_nothing(finished, modules):
    with ExitStack() as edits:
        for module in modules:
            path = finished.repository / "workflow/mapcsp" / module
            assert in_other_words(path.read_bytes()) != path.read_bytes()
            edits.enter_context(edited(path, in_other_words))
        assert finished.jobs() == {}


def test_an_edit_of_words_or_of_another_potential_keeps_finished_relaxations(finished, tmp_path):
    """Also where the job itself runs again: what it has finished is found under the same key."""

    def relaxations() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in run.result("finished/relax").rglob("*.json*")}

    run = copy_run(finished, tmp_path / "run folder", without=("relax",))
    package = finished.repository / "workflow/mapcsp/relax"
    before = relaxations()
    with (
        edited(package / "relaxation.py", in_other_words),
        edited(package / "chgnet.py", lambda t: t + b"X = 1\n"),
    ):
        done = run.snakemake("--until", "relax")
    assert done.returncode == 0, done.stdout
    assert before and relaxations() == before


def test_a_touched_list_reruns_nothing(finished):
    (finished.folder / "my list.csv").touch()
    assert finished.jobs() == {}


def test_a_formula_added_runs_only_its_own_jobs(finished):
    own = {"pool": 1, "relax": 1, "rank": 1, "report": 1}
    with edited(finished.folder / "my list.csv", lambda text: text.replace(b"NaCl,1", b"CaO,1\nNaCl,1")):
        assert finished.jobs()["intake"] == 1
        # The stages that take the whole list, and then see what is left.
        done = finished.snakemake("--until", "plan")
        assert done.returncode == 0, done.stdout
        new = [b for b, files in plan_table(finished, "buckets").items() if "/CaO_z1/" in files[0]]
        assert new
        assert finished.jobs() == {**own, "reconstruct": len(new)}
    # And without it again, only the gathering.
    done = finished.snakemake("--until", "plan")
    assert done.returncode == 0, done.stdout
    assert set(finished.jobs()) <= {"rank", "report"}


def test_a_moved_row_reruns_no_search(finished):
    with edited(finished.folder / "my list.csv", lambda _: b"formula,z\nMgO,1\nNaCl,1\nnot a formula,\n"):
        done = finished.snakemake("--until", "plan")
        assert done.returncode == 0, done.stdout
        assert set(finished.jobs()) <= {"rank", "report"}
    done = finished.snakemake("--until", "plan")
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("ranking={topk: 3}", "mapcsp: error: config: ranking.topk: unknown setting; see config/README.md"),
        ("formulas=none.csv", "mapcsp: error: config: formulas: none.csv is not a file"),
        ("symmetry={model: none}", "mapcsp: error: symmetry.model: 'none' is not one of its models"),
        ("symmetry={model: maps}", "mapcsp: error: symmetry.model: 'maps' is not one of its models"),
    ],
)
def test_a_mistake_in_the_config_is_one_line_and_status_2(finished, config, message):
    done = finished.snakemake("--dry-run", config=(config,))
    assert done.returncode == 2
    assert message in done.stdout
    assert "Traceback" not in done.stdout


def test_a_mistake_in_the_list_is_told_in_the_log_without_traceback(finished, tmp_path):
    run = Run(finished.repository, tmp_path)
    (tmp_path / "my list.csv").write_text("formula\nnonsense(\n")
    done = run.snakemake("--until", "intake", "--retries", "0")
    assert done.returncode == 1
    assert "mapcsp: error: my list.csv: its only row cannot be used; line 2:" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_list_beside_the_caller_is_found(finished, tmp_path, monkeypatch):
    (tmp_path / "my list.csv").write_text("formula\nNaCl\n")
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", str(tmp_path))
    assert Run(finished.repository, tmp_path / "run").jobs()["intake"] == 1


def test_the_workflow_passes_snakemakes_lint(finished):
    done = finished.snakemake("--lint")
    assert done.returncode == 0, done.stdout
    assert "Congratulations" in done.stdout


def test_the_snakefile_parses_without_heavy_libraries(finished, tmp_path):
    # Blocked from here on: what Snakemake itself and its plugins have imported before is not our concern.
    wrapper = tmp_path / "Snakefile"
    wrapper.write_text(
        "import sys\n"
        "for name in ('numpy', 'pandas', 'torch', 'pymatgen', 'scipy', 'numba'):\n"
        "    sys.modules[name] = None\n"
        f"include: {str(finished.repository / 'Snakefile')!r}\n"
    )
    command = [*SNAKEMAKE, "all", "--snakefile", str(wrapper), "--directory", str(tmp_path)]
    command += ["--dry-run", "--cores", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_folder_of_the_results_is_named_after_many_files(finished):
    # Every file of one formula or search lies in one of 256 sub-folders.
    for stage in (
        "intake/entries",
        "features",
        "symmetry",
        "maps",
        "plan/tasks",
        "reconstruct",
        "pools",
        "relax",
    ):
        folders = [p for p in finished.result(stage).iterdir() if not p.name.startswith(".")]
        assert folders and all(p.is_dir() and re.fullmatch("[0-9a-f]{2}", p.name) for p in folders)

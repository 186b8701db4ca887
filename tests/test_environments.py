"""Each rule's environment holds what its command needs, by file and, once, in a run of Snakemake with `--sdm conda`."""

import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from conda.environments import closure, pins
from known_rules import Rule, demands, modules_of, rules
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pipeline import REPOSITORY, Run, copy_repository

ENVIRONMENTS = {file.name: file for file in (REPOSITORY / "envs").glob("*.yaml")}
SNAKEFILES = ("Snakefile", "workflow/Snakefile.training")
# What only a setting or a rule of its own asks for: each needs its environment, which holds it.
OPTIONAL = {
    "chgnet": "chgnet.yaml",
    "matgl": "matgl.yaml",
    "torch_geometric": "matgl.yaml",
    "sevenn": "sevennet.yaml",
    "schnetpack": "painn.yaml",
}
# The client of the Materials Project: without it the stage says that there are no energies above the hull.
NEVER_NEEDED = {"mp_api"}


@cache
def all_rules(snakefile: str, *config: str) -> tuple[Rule, ...]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return tuple(rules(REPOSITORY / snakefile, Path(folder), *config))


@cache
def owners() -> dict[str, set[str]]:
    """Top-level packages with the distributions that hold them; optional ones need not be installed."""
    installed = packages_distributions()
    return {
        **{name: {name.replace("_", "-")} for name in (*OPTIONAL, *NEVER_NEEDED)},
        **{top: {canonicalize_name(d) for d in names} for top, names in installed.items()},
    }


def needed(rule: Rule) -> dict[str, set[str]]:
    """What a rule asks of its environment: a name, with the distributions each of which may satisfy it."""
    # The command line itself needs click.
    names = {"click"} if rule.shell.startswith("mapcsp ") else set()
    names |= {name for module in modules_of(rule) for name in demands(module)} - NEVER_NEEDED
    return {
        name: {canonicalize_name(name.removeprefix("dist:"))} if name.startswith("dist:") else owners()[name]
        for name in names
    }


def missing(rule: Rule, given: set[str]) -> list[str]:
    """What a rule asks for that is not in its environment, optional packages left out unless it is theirs."""
    asked = {
        name: ways
        for name, ways in needed(rule).items()
        if name not in OPTIONAL or OPTIONAL[name] == rule.environment
    }
    return sorted(name for name, ways in asked.items() if not ways & given)


@cache
def held(environment: str) -> set[str]:
    """Distributions that an environment holds: its pins, what they require, and conda's own pip."""
    assert "pip" in yaml.safe_load(ENVIRONMENTS[environment].read_text())["dependencies"]
    own = pins(ENVIRONMENTS[environment])
    # What SevenNet and matgl bring of PyTorch Geometric is known only where they are installed.
    brought = {"torch-geometric"} if {"sevenn", "matgl"} & set(own) else set()
    return set(closure(set(own))) | {"pip"} | brought


@pytest.mark.parametrize("snakefile", SNAKEFILES)
def test_the_environment_of_each_rule_holds_all_that_its_command_imports(snakefile):
    found = all_rules(snakefile)
    assert len(found) >= 10
    assert {r.name: missing(r, held(r.environment)) for r in found if missing(r, held(r.environment))} == {}


@pytest.mark.parametrize("snakefile", SNAKEFILES)
def test_every_rule_with_a_command_has_an_environment(snakefile):
    assert [rule.name for rule in all_rules(snakefile) if rule.environment not in ENVIRONMENTS] == []


@pytest.mark.parametrize("snakefile", SNAKEFILES)
def test_every_command_of_a_rule_is_found_and_imports_something(snakefile):
    # Else the tests above would pass whatever is missing.
    assert [rule.name for rule in all_rules(snakefile) if not modules_of(rule)] == (
        ["settings"] if snakefile == "Snakefile" else []
    )


def test_a_package_that_a_function_imports_or_whose_version_is_read_is_missed():
    report, intake = (next(r for r in all_rules("Snakefile") if r.name == n) for n in ("report", "intake"))
    # `report/run.py` imports jinja2 inside a function, the intake asks for the version of smact.
    assert missing(report, held("crystals.yaml") - {"jinja2"}) == ["jinja2"]
    assert missing(intake, held("crystals.yaml") - {"smact"}) == ["dist:smact", "smact"]


@pytest.mark.parametrize("environment", sorted(ENVIRONMENTS))
def test_an_environment_holds_nothing_that_no_rule_asks_for(environment):
    asked = set()
    for snakefile in SNAKEFILES:
        # Those of single potentials hold what a relaxation, and whatever else may run there, asks for.
        found = [r for r in all_rules(snakefile) if r.environment in (environment, "networks.yaml")]
        asked |= {owner for rule in found for owners_ in needed(rule).values() for owner in owners_}
    if environment == "crystals.yaml":
        crystals = [r for r in all_rules("Snakefile") if r.environment == environment]
        asked = {owner for rule in crystals for owners_ in needed(rule).values() for owner in owners_}
    assert sorted(set(pins(ENVIRONMENTS[environment])) - asked) == []


@pytest.mark.parametrize(
    ("potential", "environment"),
    [
        ("m3gnet", "networks.yaml"),
        ("chgnet", "chgnet.yaml"),
        ("sevennet-0", "sevennet.yaml"),
        ("sevennet-l3i5", "sevennet.yaml"),
        ("matgl:a-model", "matgl.yaml"),
        ("ase:ase.calculators.emt:EMT", "networks.yaml"),
    ],
)
def test_relaxation_runs_in_the_environment_of_its_potential(potential, environment):
    found = all_rules("Snakefile", f"relax={{potential: '{potential}'}}")
    for rule in found:
        if rule.name in ("relax", "benchmark_predict"):
            assert rule.environment == environment
            assert missing(rule, held(environment)) == []


def test_extras_environments_and_constraints_name_the_same_versions():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = [Requirement(r) for group in project["optional-dependencies"].values() for r in group]
    stated = {}
    for requirement in [*map(Requirement, project["dependencies"]), *extras]:
        stated.setdefault(canonicalize_name(requirement.name), []).append(requirement.specifier)
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    constraints = {canonicalize_name(n): v for n, _, v in (line.partition("==") for line in lines) if v}
    for environment, file in ENVIRONMENTS.items():
        for name, version in pins(file).items():
            assert constraints.get(name, version) == version, f"{environment}: {name}"
            assert name in constraints or name in stated, f"{environment}: {name} is in no other list"
            for specifier in stated.get(name, ()):
                assert specifier.contains(version), f"{environment}: {name}=={version}, not {specifier}"


def test_what_the_package_imports_is_among_its_dependencies_or_extras():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    named = {canonicalize_name(Requirement(text).name) for group in groups for text in group}
    # matgl stands on PyTorch Geometric, jinja2 on markupsafe, and pip comes with Python.
    named |= {"torch-geometric", "markupsafe", "pip"}
    package = REPOSITORY / "workflow/mapcsp"
    modules = [str(f.relative_to(package).with_suffix("")) for f in package.rglob("*.py")]
    # Run once, by hand, with a library that the rest cannot stand beside, as its docstring says.
    modules.remove("training/cryspnet/table")
    imported = {name for module in modules for name in demands(module) if not name.startswith("dist:")}
    assert sorted(name for name in imported if not owners().get(name, {name}) & named) == []


# One worker: an environment is made once.
@pytest.mark.workflow
@pytest.mark.xdist_group("workflow")
def test_the_pipeline_runs_with_each_rule_in_its_own_environment(finished, tmp_path):
    run = Run(finished.repository, tmp_path / "run folder", environment=conda())
    run.folder.mkdir()
    (run.folder / "my list.csv").write_text("formula,z\nNaCl,1\n")
    done = run.snakemake("--sdm", "conda", config=("rescore={potential: none}",))
    assert done.returncode == 0, done.stdout + logs(run)
    # What the other run made without environments: the same crystals, and torch's version in a report made without torch.
    salt = [line for line in finished.table().splitlines() if line.startswith(b"NaCl")]
    assert [line for line in run.table().splitlines() if line.startswith(b"NaCl")] == salt
    page = run.result("report/index.html").read_text()
    assert re.search(r"torch&nbsp;2\.13\.0", page) and "snakemake&nbsp;" not in page


@pytest.mark.deployment
def test_the_shipped_list_runs_in_environments_that_pip_makes(tmp_path):
    run = Run(copy_repository(tmp_path / "repo"), tmp_path / "run folder", environment=conda("pip"))
    run.folder.mkdir()
    (run.folder / "my list.csv").write_text((REPOSITORY / "config/formulas.csv").read_text())
    options = (
        "--sdm",
        "conda",
        "--conda-prefix",
        os.environ.get("MAPCSP_TEST_CONDA_PREFIX", str(tmp_path / "envs")),
    )
    done = run.snakemake(*options)
    assert done.returncode == 0, done.stdout + logs(run)
    table = run.table().decode()
    assert len({line.split(",")[0] for line in table.splitlines()[1:]}) == 8
    # `rescore: auto` is SevenNet there, which the interpreter of Snakemake need not have.
    assert "sevennet-l3i5" in table
    done = run.snakemake(
        *(*options, "benchmark"),
        config=("benchmark={table: resources/benchmarks/well_known.parquet, count: 2, crystals_per_job: 2}",),
    )
    assert done.returncode == 0, done.stdout + logs(run)
    assert "full" in run.result("benchmark/table.md").read_text()


def conda(kind: str = "links") -> dict[str, str]:
    """An environment in which Snakemake finds the stand-in for conda."""
    folder = REPOSITORY / "tests/conda/bin"
    return {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "MAPCSP_TEST_PYTHON": sys.executable,
        "MAPCSP_TEST_CONDA": kind,
    }


def logs(run: Run) -> str:
    """The ends of all logs of a run, for the message of a failure."""
    command = ["tail", "-n", "15", *map(str, sorted(run.result("logs").rglob("*.log")))]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout

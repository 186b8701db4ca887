"""What README and CONTRIBUTING show: commands are run, dry where they take long, and those that install are looked at."""

import ast
import glob
import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest
from mapcsp import api
from mapcsp.cli import cli
from pipeline import REPOSITORY, SNAKEMAKE

DOCUMENTS = ("README.md", "CONTRIBUTING.md", "config/profiles/README.md", "resources/models/README.md")


def blocks(document: str, language: str) -> list[str]:
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", text)


def commands(document: str) -> list[list[str]]:
    """Commands of console blocks and of code in the text, as words; continued lines are joined."""
    shown = [
        line.split("  #")[0].strip()
        for block in blocks(document, "console")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    text = re.sub(r"(?ms)^```.*?^```", "", (REPOSITORY / document).read_text(encoding="utf-8"))
    shown += [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text)]
    programs = ("make ", ".venv/bin/", "snakemake ", "mapcsp ", "pytest ", "scancel ")
    # Names in capitals or brackets and dots stand for what the reader puts there.
    return [
        shlex.split(line)
        for line in shown
        if line.startswith(programs) and not re.search(r"[<>…|]|\$\(", line)
    ]


def program(words: list[str]) -> str:
    return Path(words[0]).name


ALL = [(document, words) for document in DOCUMENTS for words in commands(document)]


def of(*names: str) -> list:
    return [
        pytest.param(document, words, id=f"{document}: {' '.join(words)}")
        for document, words in ALL
        if program(words) in names
    ]


def test_the_documents_show_commands_of_every_kind():
    assert {program(words) for _, words in ALL} >= {"make", "snakemake", "mapcsp", "pytest", "pip"}


@pytest.mark.parametrize(("document", "words"), of("make"))
def test_each_target_of_make_that_is_shown_exists(document, words):
    targets = re.findall(r"(?m)^([a-z][a-z-]*):", (REPOSITORY / "Makefile").read_text())
    assert words[1] in targets


@pytest.mark.parametrize(("document", "words"), of("mapcsp"))
def test_each_command_of_mapcsp_that_is_shown_has_these_options(document, words):
    command: click.Command = cli
    context = click.Context(cli)
    rest = words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(context, rest[0])
        assert found is not None, f"no command {rest[0]}"
        command, rest = found, rest[1:]
    known = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
    assert {word.partition("=")[0] for word in rest if word.startswith("-")} <= known | {"--help"}
    places = [parameter for parameter in command.params if isinstance(parameter, click.Argument)]
    values = [
        word
        for word, before in zip(rest, [None, *rest])
        if not word.startswith("-") and not str(before).startswith("-")
    ]
    assert not values or places


@pytest.mark.parametrize(("document", "words"), of("snakemake"))
def test_each_command_of_snakemake_that_is_shown_is_understood(document, words, tmp_path):
    # A dry run of the shipped list, in a folder of its own; --help only reads the options.
    for name in ("my.csv", "my.yaml"):
        (tmp_path / name).write_text("formula\nNaCl\n" if name == "my.csv" else "{}\n")
    line = [word for word in words[1:] if word not in ("--report", "run.html", "--unlock")]
    if "slurm" in line:
        # The executor of that profile needn't be installed.
        line = [word for word in line if word not in ("--workflow-profile", "slurm")]
    if "--snakefile" not in line:
        line += ["--snakefile", str(REPOSITORY / "Snakefile")]
    line = [str(REPOSITORY / word) if word.startswith("workflow/Snakefile") else word for word in line]
    line = [str(tmp_path / word) if word in ("my-run", "my.yaml") else word for word in line]
    line = [word.replace("formulas=my.csv", f"formulas={tmp_path / 'my.csv'}") for word in line]
    if "--directory" not in line:
        line += ["--directory", str(tmp_path)]
    if "--cores" not in line:
        line += ["--cores", "1"]
    done = subprocess.run(
        [*SNAKEMAKE, *line, "--dry-run"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    # Tables to train on are the reader's.
    missing = "MissingInputException" in done.stdout + done.stderr and "Snakefile.training" in " ".join(line)
    assert done.returncode == 0 or missing, done.stdout + done.stderr


@pytest.mark.parametrize(("document", "words"), of("pytest"))
def test_each_test_that_is_shown_exists(document, words):
    project = (REPOSITORY / "pyproject.toml").read_text()
    for option, value in zip(words[1:], [*words[2:], ""]):
        if option == "-m":
            assert f'"{value}:' in project
        elif option.startswith("tests/"):
            assert (REPOSITORY / option).exists()


@pytest.mark.parametrize(("document", "words"), of("pip"))
def test_each_extra_that_is_shown_exists(document, words):
    project = (REPOSITORY / "pyproject.toml").read_text()
    for extra in re.findall(r"\.\[([\w,]+)\]", " ".join(words)):
        assert all(f"\n{name} = [" in project for name in extra.split(","))
    for before, word in zip(words, words[1:]):
        if before == "-c":
            assert (REPOSITORY / word).exists()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_file_that_is_linked_exists(document):
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#:]+)\)", text)]
    assert [link for link in links if not ((REPOSITORY / document).parent / link).exists()] == []


def test_the_python_that_is_shown_calls_what_there_is(monkeypatch, tmp_path):
    (block,) = blocks("README.md", "python")
    called = []

    class Results:
        table = "a table"

    def predict(formulas, out="mapcsp-run", **options):
        called.append((formulas, out, options))
        return Results()

    assert list(vars(api.PredictionResults)).count("table") == 1
    monkeypatch.setattr(api, "predict", predict)
    exec(compile(ast.parse(block), "README.md", "exec"), {})
    assert called == [(["NaCl"], "my-run", {})]


# `predict` is the workflow, which tests of its own run.
SHOWN = [
    words
    for words in commands("README.md")
    if program(words) == "mapcsp" and words[1] in ("symmetry", "maps", "relax", "score")
]


@pytest.mark.parametrize("words", [pytest.param(words, id=" ".join(words)) for words in SHOWN])
def test_the_commands_of_the_readme_run(words, tmp_path, monkeypatch):
    from click.testing import CliRunner
    from pymatgen.core import Lattice, Structure

    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    monkeypatch.chdir(tmp_path)
    for name in ("my.cif", "predicted.cif", "known.cif"):
        salt.get_primitive_structure().to(filename=name)
    salt.get_primitive_structure().to_ase_atoms().write("frames.xyz", format="extxyz")
    # As a shell would.
    expanded = [name for word in words[1:] for name in (sorted(glob.glob(word)) if "*" in word else [word])]
    done = CliRunner().invoke(cli, expanded, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    expected = {"symmetry": "LiFePO4", "maps": "NaCl", "relax": "converged", "score": "match_loose"}
    assert expected[words[1]] in done.output


def test_the_readme_shows_the_verbs_of_the_command_line():
    assert {words[1] for words in SHOWN} == {"symmetry", "maps", "relax", "score"}

"""The command line: quick to start, one line for a user's mistake, a traceback for a bug."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from mapcsp import cli

# The aim is 0.3 s on an idle machine; tests share theirs with others.
SECONDS_TO_HELP = 0.3
HEAVY = {"numpy", "torch", "pandas", "pymatgen", "snakemake", "deap", "numba", "scipy"}


def mapcsp(*arguments: str, **keywords) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mapcsp", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **keywords)


def test_help_lists_the_stages_in_their_order():
    lines = mapcsp("stage", "--help").stdout.split("Commands:")[1].splitlines()
    names = [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "]
    stages = [
        "intake",
        "features",
        "symmetry",
        "maps",
        "plan",
        "reconstruct",
        "pool",
        "relax",
        "rank",
        "report",
    ]
    assert [name for name in names if name in stages] == stages


def test_every_command_explains_itself():
    stages = cli.cli.commands["stage"].commands
    paths = [[name] for name in cli.cli.commands] + [["stage", name] for name in stages]
    for path in paths:
        result = CliRunner().invoke(cli.cli, [*path, "--help"])
        assert result.exit_code == 0
        assert {**cli.cli.commands, **stages}[path[-1]].help


def test_help_imports_nothing_heavy():
    code = "import sys, mapcsp.cli, mapcsp.settings, mapcsp.provenance; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert HEAVY.isdisjoint(modules.split())


def test_help_takes_less_than_three_tenths_of_a_second_of_cpu():
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert mapcsp("--help").returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < SECONDS_TO_HELP


def test_a_missing_file_is_one_line_and_status_2(tmp_path):
    command = ["stage", "intake", "--formulas", "none.csv", "--settings", "none.json", "--output", "out"]
    done = mapcsp(*command, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "mapcsp: error: none.json does not exist; run snakemake to build it\n"
    assert done.stdout == ""


def test_a_message_of_several_lines_is_printed_as_one(monkeypatch, capsys):
    from mapcsp.errors import UserError

    def fail(**_):
        raise UserError("first\n  second")

    monkeypatch.setattr(cli, "cli", fail)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "mapcsp: error: first second\n"


def test_a_bug_keeps_its_traceback(monkeypatch):
    def fail(**_):
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "cli", fail)
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_an_unknown_option_is_status_2():
    assert mapcsp("stage", "rank", "--nonsense").returncode == 2


def test_threads_reach_the_libraries():
    code = (
        "import os, sys; from mapcsp import cli\n"
        "cli.cli(['--threads', '3', 'stage', 'rank', '--help'], standalone_mode=False)\n"
        "print('|'.join(os.environ[v] for v in cli.THREAD_VARIABLES))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "3|3|3|3"


def test_the_intake_command_writes_its_folder_and_a_manifest_of_it(tmp_path):
    (tmp_path / "list.csv").write_text("NaCl\nMgO\nnonsense(\n")
    (tmp_path / "intake.json").write_text("{}")
    files = ["--formulas", "list.csv", "--settings", "intake.json", "--output", "out", "--manifest", "m.json"]
    command = ["stage", "intake", *files]
    done = mapcsp(*command, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    manifest = json.loads((tmp_path / "m.json").read_text())
    files = {
        p.relative_to(tmp_path / "out").as_posix() for p in Path(tmp_path / "out").rglob("*") if p.is_file()
    }
    assert set(manifest) == files
    assert {"index.json", "accepted.csv", "rejected.csv"} < files
    assert json.loads((tmp_path / "out/index.json").read_text())["ids"] == ["NaCl", "MgO"]


def test_the_console_script_is_the_same_command():
    script = Path(sys.executable).with_name("mapcsp")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("mapcsp, version ")


def test_help_shows_the_commands_in_sections():
    shown = mapcsp("--help").stdout
    headings = ["Prediction:", "Stages of the workflow:", "Training:", "Tools:"]
    places = [shown.index(heading) for heading in headings]
    assert places == sorted(places)
    prediction = shown[places[0] : places[1]]
    assert all(f"  {name} " in prediction for name in ("predict", "symmetry", "maps", "relax", "score"))


@pytest.mark.parametrize("verb", ["predict", "symmetry", "maps", "relax", "score"])
def test_the_help_of_each_verb_of_a_user_has_examples_that_name_known_options(verb):
    shown = CliRunner().invoke(cli.cli, [verb, "--help"]).output
    examples = [line.split() for line in shown.splitlines() if line.startswith(f"    mapcsp {verb} ")]
    assert len(examples) >= 2
    known = {name for option in cli.cli.commands[verb].params for name in option.opts}
    assert {word for example in examples for word in example if word.startswith("--")} <= known


def test_a_shell_completes_commands_and_options():
    def completed(words: str) -> list[str]:
        environment = {
            **os.environ,
            "_MAPCSP_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        script = Path(sys.executable).with_name("mapcsp")
        done = subprocess.run([script], capture_output=True, text=True, check=False, env=environment)
        return [line.partition(",")[2] for line in done.stdout.splitlines()]

    assert completed("mapcsp pre") == ["predict"]
    assert completed("mapcsp predict --space") == ["--space-group"]
    assert "relax" in completed("mapcsp stage rel")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_of_that_shell(shell):
    shown = CliRunner().invoke(cli.cli, ["completion", shell])
    assert shown.exit_code == 0
    assert f"_MAPCSP_COMPLETE={shell}_complete" in shown.output

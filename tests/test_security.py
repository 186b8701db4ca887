"""Inputs are data, never code: what the package may call, and what shell commands may be given."""

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
SOURCES = sorted((REPOSITORY / "workflow/mapcsp").rglob("*.py"))
RULES = sorted((REPOSITORY / "workflow/rules").glob("*.smk"))
FORBIDDEN_IMPORTS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "yaml.load",
    "yaml.unsafe_load",
}
FORBIDDEN_CALLS |= {"yaml.full_load", "pd.read_pickle", "pandas.read_pickle"}


def faults_of(tree: ast.AST) -> list[str]:
    """Everything in a module through which an input could become code."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in FORBIDDEN_IMPORTS]
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FORBIDDEN_IMPORTS:
            found.append(str(node.module))
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            options = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if name in FORBIDDEN_CALLS:
                found.append(name)
            if name == "torch.load" and options.get("weights_only") != "True":
                found.append("torch.load without weights_only=True")
            if options.get("allow_pickle", "False") != "False":
                found.append(f"{name} with allow_pickle")
            if options.get("shell", "False") != "False":
                found.append(f"{name} with shell")
    return found


@pytest.mark.parametrize(
    "path", SOURCES, ids=lambda p: p.relative_to(REPOSITORY / "workflow/mapcsp").as_posix()
)
def test_no_module_can_turn_an_input_into_code(path):
    assert faults_of(ast.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "code",
    [
        "eval(text)",
        "import pickle",
        "from pickle import loads",
        "yaml.load(text)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(text, shell=True)",
        "os.system(text)",
    ],
)
def test_the_search_finds_what_it_should(code):
    assert len(faults_of(ast.parse(code))) == 1


@pytest.mark.parametrize("path", RULES, ids=lambda p: p.stem)
def test_every_value_in_a_shell_command_is_quoted(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"(?m)^\s+(run|script):", text)
    # Numbers, and constants that the rule file has quoted itself, need no quotes.
    harmless = r"threads|[A-Z_]+"
    for command in re.findall(r"(?s)\n    shell:\n(.*?)(?=\n\n|\n\w|\Z)", text):
        values = re.findall(r"\{([^{}]+)\}", command)
        unquoted = [v for v in values if not v.endswith(":q") and not re.fullmatch(harmless, v)]
        assert unquoted == []


@pytest.mark.parametrize(
    "stage",
    ["features", "symmetry", "maps", "reconstruct", "pool", "prerelax", "relax", "rescore", "rank", "report"],
)
def test_memory_and_time_grow_with_each_attempt(stage):
    text = (REPOSITORY / f"workflow/rules/{stage}.smk").read_text(encoding="utf-8")
    for resource in ("mem_mb", "runtime"):
        (expression,) = re.findall(rf"(?m)^        {resource}=(.+),$", text)
        value = eval(expression, {"for_list": lambda base, _: lambda wildcards, attempt: base * attempt})
        first, second, third = (value(None, attempt=n) for n in (1, 2, 3))
        assert (second, third) == (2 * first, 3 * first) and first > 0

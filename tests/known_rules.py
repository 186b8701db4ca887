"""What the rules run and where: their commands and environments as Snakemake sees them, and what the commands import."""

import ast
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mapcsp import provenance
from pipeline import REPOSITORY, SNAKEMAKE

DUMP = """
include: {snakefile!r}


import json
import re

constant = lambda match: str(workflow.globals.get(match[1], match[0]))
# A rule without a command only gathers files.
commands = [rule for rule in workflow.rules if rule.shellcmd]
found = [(r.name, str(r.conda_env or ""), re.sub("{{([A-Z_]+)}}", constant, r.shellcmd)) for r in commands]
Path({output!r}).write_text(json.dumps(found))
"""
MODULE = re.compile(r"-m (mapcsp(?:\.\w+)+)")
COMMAND = re.compile(r"mapcsp (?:--threads \{threads\} )?((?:stage )?[a-z][a-z-]+)")


@dataclass(frozen=True)
class Rule:
    """A rule that runs a command. environment: file name in `envs`, empty for none."""

    name: str
    environment: str
    shell: str


def rules(snakefile: Path, folder: Path, *config: str) -> list[Rule]:
    """All rules with a command; config: such as `relax={potential: chgnet}`."""
    wrapper, output = folder / "Snakefile", folder / "rules.json"
    wrapper.write_text(DUMP.format(snakefile=str(snakefile), output=str(output)))
    command = [*SNAKEMAKE, "--snakefile", str(wrapper), "--directory", str(folder), "--list-rules"]
    done = subprocess.run(
        [*command, *(["--config", *config] if config else [])], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [Rule(name, Path(env).name, shell) for name, env, shell in json.loads(output.read_text())]


@cache
def command_functions() -> dict[str, ast.FunctionDef]:
    """Subcommands, such as `stage relax` and `fetch-potential`, by the functions of `cli` that are behind them."""
    found = {}
    for file in sorted((REPOSITORY / "workflow/mapcsp/cli").glob("*.py")):
        for node in ast.parse(file.read_bytes()).body:
            for decorator in getattr(node, "decorator_list", []):
                call = ast.unparse(decorator)
                name = node.name.replace("_", "-")
                if call.startswith("stage.command("):
                    found[f"stage {name}"] = node
                elif call.startswith("cli.add("):
                    found[name] = node
    return found


def modules_of(rule: Rule) -> tuple[str, ...]:
    """Modules of mapcsp that a rule's command imports, itself or through others."""
    entries = [name.removeprefix("mapcsp.").replace(".", "/") for name in MODULE.findall(rule.shell)]
    functions = [command_functions()[name] for name in COMMAND.findall(rule.shell)]
    for function in functions:
        entries += [
            node.module.removeprefix("mapcsp.").replace(".", "/")
            for node in ast.walk(function)
            if isinstance(node, ast.ImportFrom) and node.module.startswith("mapcsp.")
        ]
    # Unlike for the hash of a stage's code, also modules that decide no number.
    found: set[str] = set()
    waiting = [name for entry in entries for name in (entry, *provenance._packages(entry.split("/")))]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(provenance._imports(name))
    return tuple(sorted(found))


@cache
def demands(module: str) -> frozenset[str]:
    """What one module asks of its environment: top-level packages imported anywhere in it, `dist:` names whose version it
    reads, `-m` programs that it starts."""
    found = set()
    for node in ast.walk(ast.parse((REPOSITORY / f"workflow/mapcsp/{module}.py").read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("version", "versions"):
            names = [c.value for a in node.args for c in ast.walk(a) if isinstance(c, ast.Constant)]
            found |= {f"dist:{name}" for name in names}
        elif isinstance(node, ast.List):
            values = [item.value if isinstance(item, ast.Constant) else None for item in node.elts]
            found |= {values[i + 1] for i, value in enumerate(values[:-1]) if value == "-m"}
    return frozenset(found - set(sys.stdlib_module_names) - {"mapcsp", "__future__"})

"""Where a result came from: hashes of code, files and settings, and seeds derived from them."""

from __future__ import annotations

import ast
import hashlib
import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import mapcsp

PACKAGE = Path(__file__).parent


@cache
def code_id(*modules: str) -> str:
    """Hash of the code of modules or subpackages (`ga`, `store`, …), for the `params:` of a rule.

    Snakemake does not see what a command imports; with this value among its params, a changed module reruns its stage.
    Comments, docstrings and the way a file is laid out are no code. Raises FileNotFoundError for a name that is neither a
    module nor a subpackage.
    """
    digest = hashlib.sha256()
    for module in sorted(modules):
        path = PACKAGE / module
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
        for file in files:
            digest.update(f"{file.relative_to(PACKAGE)}\n{code_text(file.read_bytes())}\n".encode())
    return digest.hexdigest()[:16]


def code_text(source: bytes) -> str:
    """What a source file runs, as text in which comments, layout and texts that nothing uses do not show.

    Written out from the syntax tree by what is in it: `ast.dump` and `ast.unparse` write the same code in another way from
    one version of Python to the next.
    """
    return _node_text(ast.parse(source))


def _node_text(value: Any) -> str:
    if isinstance(value, ast.Constant):
        # The type, since 1, 1.0 and True are equal.
        return f"{type(value.value).__name__} {value.value!r}"
    if isinstance(value, ast.AST):
        # An absent or empty field is left out: new versions of Python add fields, empty where nothing uses them.
        fields = {name: part for name, part in ast.iter_fields(value) if part is not None and part != []}
        inner = ", ".join(f"{name}={_node_text(fields[name])}" for name in sorted(fields) if name != "ctx")
        return f"{type(value).__name__}({inner})"
    if isinstance(value, list):
        return "[" + ", ".join(_node_text(part) for part in value if not _does_nothing(part)) + "]"
    return repr(value)


def _does_nothing(node: Any) -> bool:
    """Whether a statement is a text that is not assigned (a docstring, or one about the line above it), or `pass`."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return isinstance(node.value.value, str)
    return isinstance(node, ast.Pass)


# Not part of a stage's own code: settings reach a stage as a frozen section, errors and hashes change no number, and what
# the registry names is an input by its content.
_NO_CODE = {"__init__", "settings", "errors", "provenance", "registry", "resources", "unused_code"}


@cache
def imported_modules(*entries: str, without: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """Modules of mapcsp that `entries` import, directly or through others, imports inside functions included.

    entries: such as `ga/run`. without: modules that these settings never run (see `unused_code`), which are not entered.
    Returns sorted names for `code_id`, without modules that decide no number. Raises FileNotFoundError for an entry that
    does not exist.
    """
    found: set[str] = set()
    waiting = [name for entry in entries for name in (entry, *_packages(entry.split("/")))]
    while waiting:
        name = waiting.pop()
        if name in found or name in _NO_CODE or name in without:
            continue
        found.add(name)
        waiting.extend(_imports(name))
    return tuple(sorted(found))


def _imports(module: str) -> set[str]:
    """Modules that one source file imports from mapcsp, with the packages that they lie in."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_bytes())):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            targets = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for parts in (target.split(".") for target in targets):
            if parts[0] == "mapcsp":
                names |= {*_packages(parts[1:]), *filter(None, [_module_name(parts[1:])])}
    return names


def _packages(parts: Sequence[str]) -> list[str]:
    """Modules and packages that importing `parts` runs on the way."""
    return [name for n in range(1, len(parts)) if (name := _module_name(parts[:n]))]


def _module_name(parts: Sequence[str]) -> str | None:
    """`ga/run` for (ga, run), `ga/__init__` for the package (ga), None for what is not a module."""
    path = PACKAGE.joinpath(*parts)
    if path.is_dir():
        return "/".join([*parts, "__init__"]) if (path / "__init__.py").exists() else None
    return "/".join(parts) if path.with_suffix(".py").exists() else None


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hex."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def value_hash(value: Any) -> str:
    """Short stable hash of JSON-like data (settings, inputs)."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def derive_seed(*parts: Any) -> int:
    """A 31-bit seed from (run seed, formula, space group, restart, …): the same on every machine and core count."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "little") & 0x7FFFFFFF


def versions(
    packages: Sequence[str] = ("numpy", "torch", "pymatgen", "deap", "moyopy", "sevenn", "snakemake"),
    headers: Iterable[Mapping[str, Any]] = (),
) -> dict[str, str]:
    """Versions of mapcsp and of the packages that decide its numbers, in this job and in those before it.

    headers: of the files that this job read, with the `versions` of the jobs that wrote them. Jobs may run in environments
    of their own: a package that is not installed in this one decided nothing here, and of two versions both are named.
    """
    from importlib.metadata import PackageNotFoundError, version

    found = {"mapcsp": {mapcsp.__version__}}
    for package in packages:
        try:
            found[package] = {version(package)}
        except PackageNotFoundError:
            continue
    for header in headers:
        for package, several in header.get("versions", {}).items():
            found.setdefault(package, set()).update(several.split(" and "))
    return {package: " and ".join(sorted(several)) for package, several in found.items()}


def current_commit() -> str | None:
    """The repository's commit, with `+` where tracked files were changed since; None outside a checkout."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(PACKAGE), *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None

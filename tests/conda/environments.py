"""Stands in for conda where its channels cannot be reached: makes an environment of a file's `pip:` section, and no more.

`bin/conda` calls this, `bin/activate` puts an environment's `bin` first on the path; Snakemake notices no difference. By
default an environment holds links to what is installed beside the tests, but only the file's packages with all that they
require: a package that the file forgets is not there. With MAPCSP_TEST_CONDA=pip it is installed by pip, as conda would.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from importlib.metadata import Distribution, distributions
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def pins(environment: Path) -> dict[str, str]:
    """Packages that a file's `pip:` section pins, by canonical name, with their versions."""
    packages = yaml.safe_load(environment.read_text(encoding="utf-8"))["dependencies"][-1]["pip"]
    return {canonicalize_name(name): version for name, version in (p.split("==") for p in packages)}


def closure(names: set[str]) -> dict[str, Distribution | None]:
    """These packages and all that they require, by canonical name; None for one that is not installed here."""
    installed = {canonicalize_name(d.metadata["Name"]): d for d in reversed(list(distributions()))}
    found: dict[str, Distribution | None] = {}
    waiting = [(canonicalize_name(name), frozenset({""})) for name in names]
    seen = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        found[name] = installed.get(name)
        for text in (found[name].requires or ()) if found[name] is not None else ():
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append((canonicalize_name(needed.name), frozenset({"", *needed.extras})))
    return found


def link_environment(prefix: Path, names: set[str]) -> None:
    """An environment with links to these packages and what they require, and to nothing else."""
    venv.create(prefix, symlinks=True, with_pip=False)
    (site,) = (prefix / "lib").glob("python*/site-packages")
    missing = [name for name in names if closure({name})[canonicalize_name(name)] is None]
    if missing:
        sys.exit(f"{', '.join(missing)}: not installed beside the tests; set MAPCSP_TEST_CONDA=pip")
    for package in filter(None, closure(names).values()):
        root = Path(str(package.locate_file("")))
        for file in package.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                target = site / file
                target.parent.mkdir(parents=True, exist_ok=True)
                # Two packages may share a folder, not a file.
                target.symlink_to(root / file)


def create(environment: Path, prefix: Path) -> None:
    """Make the environment of a file at `prefix`."""
    if os.environ.get("MAPCSP_TEST_CONDA") != "pip":
        link_environment(prefix, set(pins(environment)))
        return
    venv.create(prefix, symlinks=True, with_pip=True)
    packages = [f"{name}=={version}" for name, version in pins(environment).items()]
    command = [str(prefix / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*command, *packages], check=True)


def main(arguments: list[str]) -> None:
    """What Snakemake asks of conda."""
    if arguments[0] == "--version":
        print("conda 24.7.1")
    elif arguments[0] == "info":
        print(json.dumps({"conda_prefix": str(Path(__file__).parent), "platform": "linux-64"}))
    elif arguments[0] == "config":
        print(json.dumps({"get": {"channel_priority": "strict"}}))
    elif arguments[0] == "clean":
        pass
    elif arguments[:2] == ["env", "create"]:
        create(
            Path(arguments[arguments.index("--file") + 1]), Path(arguments[arguments.index("--prefix") + 1])
        )
    else:
        sys.exit(f"conda {' '.join(arguments)}: not known here")


if __name__ == "__main__":
    main(sys.argv[1:])

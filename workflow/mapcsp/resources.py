"""Finds the repository's resources folder (weights, tables), wherever the run's folder is."""

from __future__ import annotations

import os
from pathlib import Path

from mapcsp.errors import UserError

# ASSUME: the package is installed in editable form from the repository, as `make run` does; else the variable names it.
VARIABLE = "MAPCSP_RESOURCES"


def resources_dir() -> Path:
    """Folder with `models/` and `tables/`; raises UserError if there is none."""
    configured = os.environ.get(VARIABLE)
    path = Path(configured) if configured else Path(__file__).resolve().parents[2] / "resources"
    if not (path / "tables").is_dir():
        raise UserError(f"{path} holds no tables/; install mapcsp with `pip install -e .` or set {VARIABLE}")
    return path


def resource_path(name: str) -> Path:
    """Path of one resource such as `tables/wyckoff.json`; raises UserError if it is missing."""
    path = resources_dir() / name
    if not path.exists():
        raise UserError(f"{path} is missing; restore it with `git checkout resources`")
    return path

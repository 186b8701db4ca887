"""Finds folders for what libraries write beside results, where theirs cannot be written: a read-only home and checkout."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from mapcsp.errors import UserError

COMPILED, PLOTTING = "NUMBA_CACHE_DIR", "MPLCONFIGDIR"
FETCH_COMMAND = "mapcsp fetch-potential"
_PACKAGE = Path(__file__).parent
# What Snakemake keeps in a run's folder.
_RUN_FOLDER = Path(".snakemake")


def name_writable_places() -> bool:
    """Set the variables of libraries that would otherwise fail or complain, unless they are set or their own places will do.

    Numba keeps compiled code beside the modules or in the home, and stops where it can do neither. Instead it gets a folder
    of the run, else one of the user among the temporary files. Returns whether compiled code has a place.
    """
    home = Path("~").expanduser()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    needs = {COMPILED: not (can_write(_PACKAGE) or can_write(cache)), PLOTTING: not can_write(config)}
    unset = [name for name, need in needs.items() if need and not os.environ.get(name)]
    folder = _own_folder() if unset else None
    if folder is not None:
        os.environ.update({name: str(folder / name.lower()) for name in unset})
    return folder is not None or COMPILED not in unset


def _own_folder() -> Path | None:
    """A folder that this user alone can write, since compiled code in it is run; None where there is no such place."""
    if _RUN_FOLDER.is_dir() and can_write(_RUN_FOLDER):
        return (_RUN_FOLDER / "mapcsp").absolute()
    try:
        folder = Path(tempfile.gettempdir()) / f"mapcsp-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return folder if own and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) else None


def can_write(folder: Path) -> bool:
    """Whether files can be made in a folder, or it can be made where it does not exist."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def check_run_folder(folder: Path) -> None:
    """Raise UserError if a run cannot write into its folder."""
    if not can_write(folder):
        raise UserError(
            f"{folder.absolute()} cannot be written; choose another folder (--directory), or give the right to write"
        )


def check_weights_place(weights: Path) -> None:
    """Raise UserError if the weights of M3GNet are not there and cannot be put there."""
    if not weights.exists() and not can_write(weights.parent):
        raise UserError(
            f"{weights} does not exist, and {weights.parent} cannot be written; run `{FETCH_COMMAND}` once as a user who may"
        )

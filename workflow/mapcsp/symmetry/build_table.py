"""Builds `resources/tables/wyckoff.json` from pyxtal's copy of the International Tables (extra `tables`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mapcsp.store import write_text
from mapcsp.symmetry.wyckoff import GRID


def _integers(operation: Any) -> list[int]:
    matrix = np.array(operation.affine_matrix)[:3].copy()
    matrix[:, 3] = np.mod(matrix[:, 3], 1.0) * GRID
    rounded = np.rint(matrix)
    if np.abs(matrix - rounded).max() > 1e-3:
        raise ValueError(f"{operation.as_xyz_str()} has a translation that is no multiple of 1/{GRID}")
    rounded[:, 3] %= GRID
    return [int(v) for v in rounded.ravel()]


def build_wyckoff_table(output: Path) -> None:
    """Write operations and Wyckoff positions of the 230 space groups, translations in units of 1/24."""
    from importlib.metadata import version

    from pyxtal.symmetry import Group

    groups: dict[str, Any] = {}
    for number in range(1, 231):
        group = Group(number)
        positions = []
        for position in reversed(list(group)):
            position.get_site_symmetry()
            positions.append(
                [
                    position.letter,
                    position.multiplicity,
                    position.site_symm.replace(" ", ""),
                    _integers(position.ops[0]),
                ]
            )
        groups[str(number)] = {
            "symbol": group.symbol,
            "operations": [_integers(o) for o in group[0].ops],
            "positions": positions,
        }
    header = {
        "source": f"pyxtal {version('pyxtal')}",
        "translation_unit": f"1/{GRID}",
        "space_groups": groups,
    }
    lines = ",\n".join(f'"{n}": {json.dumps(g, separators=(",", ":"))}' for n, g in groups.items())
    head = json.dumps({k: v for k, v in header.items() if k != "space_groups"})[1:-1]
    write_text(output, f'{{{head}, "space_groups": {{\n{lines}\n}}}}\n')

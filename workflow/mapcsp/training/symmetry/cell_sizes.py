"""Counts of how many formula units crystals have in their primitive cell, and how well they tell of cells beyond a cap."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np

from mapcsp.errors import UserError
from mapcsp.store import write_json, write_text
from mapcsp.symmetry.cell_sizes import (
    CellSizes,
    Stoichiometry,
    gather_counts,
    joined_with_network,
)
from mapcsp.training.geometries import formula_hash
from mapcsp.training.split import is_held_out

COLUMNS = ("formula", "species", "source")
# Where these sets take their crystals from, the Materials Project does not know them, or they are hypothetical.
HYPOTHETICAL = ("Alexandria 0 GPa", "Alexandria via", "OQMD", "WBM", "AFLOW", "JARVIS-DFT", "BETE")
# What a formula counts of which only hypothetical crystals are known. Log-loss of z, held-out known crystals: 1.1338 with 0,
# 1.1323 with 0.1, 1.1404 with 0.3, 1.1787 with 1.
HYPOTHETICAL_WEIGHT = 0.1
CAPS = (12, 24)
BINS = 5


@dataclass(frozen=True)
class KnownCell:
    """Size of one crystal's primitive cell. amounts: reduced, ascending. known: rather than hypothetical."""

    formula: str
    elements: tuple[tuple[str, int], ...]
    z: int
    known: bool

    @property
    def amounts(self) -> Stoichiometry:
        """The stoichiometry."""
        return tuple(sorted(n for _, n in self.elements))


def read_cells(tables: Iterable[Path]) -> list[KnownCell]:
    """Read the cell sizes of structure tables; raises UserError for a file that does not fit."""
    import pyarrow.parquet as pq

    found = []
    for path in tables:
        names = pq.read_schema(path).names
        missing = [c for c in COLUMNS if c not in names]
        if missing:
            raise UserError(f"{path} lacks the columns {missing}; the data schema has {', '.join(COLUMNS)}")
        wanted = [*COLUMNS, *(c for c in ("icsd_in_mp",) if c in names)]
        for row in pq.read_table(path, columns=wanted).to_pylist():
            content = Counter(row["species"])
            z = gcd(*content.values())
            elements = tuple(sorted((symbol, n // z) for symbol, n in content.items()))
            known = not row["source"].startswith(HYPOTHETICAL) and row.get("icsd_in_mp") is not False
            found.append(KnownCell(row["formula"], elements, z, known))
    return found


def count_crystals(cells: Sequence[KnownCell]) -> dict[Stoichiometry, dict[int, float]]:
    """Weighted crystals by stoichiometry and z: each formula counts once, shared by the z of its known crystals.

    A formula of hypothetical crystals alone counts HYPOTHETICAL_WEIGHT.
    """
    of_formula: dict[str, list[KnownCell]] = defaultdict(list)
    for cell in cells:
        of_formula[cell.formula].append(cell)
    found: dict[Stoichiometry, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for mine in of_formula.values():
        known = sorted({c.z for c in mine if c.known})
        zs = known or sorted({c.z for c in mine})
        for z in zs:
            found[mine[0].amounts][z] += (1.0 if known else HYPOTHETICAL_WEIGHT) / len(zs)
    return {amounts: dict(by_z) for amounts, by_z in found.items()}


def table_text(tables: Sequence[Path], crystals: dict[Stoichiometry, dict[int, float]]) -> str:
    """The table as JSON text, one stoichiometry a line."""
    head = json.dumps({"tables": [t.name for t in tables], "hypothetical_weight": HYPOTHETICAL_WEIGHT})[1:-1]
    lines = ",\n".join(
        f'"{" ".join(map(str, amounts))}": '
        + json.dumps({z: float(f"{w:.3g}") for z, w in sorted(by_z.items())}, separators=(",", ":"))
        for amounts, by_z in sorted(crystals.items(), key=lambda item: (len(item[0]), item[0]))
    )
    return f'{{{head}, "crystals": {{\n{lines}\n}}}}\n'


NetworkOfZ = Callable[[KnownCell], np.ndarray | None]


def network_of_z() -> NetworkOfZ:
    """P(z) of a formula by the shipped label network, without the formula's own crystals; None where it knows no label."""
    import torch

    from mapcsp.registry import registered_model
    from mapcsp.symmetry.candidates import slot_elements
    from mapcsp.symmetry.known_labels import known_class
    from mapcsp.symmetry.model import load_model
    from mapcsp.symmetry.predict import score_labels, z_by_network

    model = load_model(registered_model("symmetry", "symmetry.model").folder)

    def of(cell: KnownCell) -> np.ndarray | None:
        slots = slot_elements(cell.elements)
        known = known_class(model, slots.amounts)
        if known is None:
            return None
        with torch.inference_mode():
            scores = score_labels(slots, model, known, formula_hash(cell.formula))
        return z_by_network(scores.logits[0].double().numpy(), known.found.z)

    return of


def judge(cells: Sequence[KnownCell], sizes: CellSizes, network: NetworkOfZ) -> dict[str, Any]:
    """How well `the cell has more atoms than the cap` is foretold of known held-out crystals, beside the overall share.

    For each cap: mean log-loss by counts and network together, by the counts alone, and by the share of larger cells
    among these crystals for all; and calibration, foretold and found share in fifths of the formulas by the foretold one.
    """
    from mapcsp.symmetry.known_labels import MAX_CELL_ATOMS

    of_formula: dict[str, set[int]] = defaultdict(set)
    example: dict[str, KnownCell] = {}
    for cell in cells:
        if cell.known and is_held_out(cell.formula):
            of_formula[cell.formula].add(cell.z)
            example[cell.formula] = cell
    rows: dict[int, list[tuple[float, float, float]]] = {cap: [] for cap in CAPS}
    for formula, zs in sorted(of_formula.items()):
        unit = sum(example[formula].amounts)
        if unit > max(CAPS):
            continue
        counted = sizes.probabilities(example[formula].amounts)
        joined = joined_with_network(counted, network(example[formula]), MAX_CELL_ATOMS // unit)
        for cap in CAPS:
            if unit <= cap:
                most = cap // unit
                share = float(np.mean([z > most for z in zs]))
                rows[cap].append((joined[most + 1 :].sum(), counted[most + 1 :].sum(), share))
    figures: dict[str, Any] = {}
    for cap, found in rows.items():
        foretold, counted, larger = np.array(found).T
        order = np.array_split(np.argsort(foretold, kind="stable"), BINS)
        figures |= {
            f"formulas_cap_{cap}": len(found),
            f"larger_share_cap_{cap}": round(float(larger.mean()), 4),
            f"foretold_share_cap_{cap}": round(float(foretold.mean()), 4),
            f"log_loss_cap_{cap}": round(_log_loss(foretold, larger), 4),
            f"log_loss_counts_alone_cap_{cap}": round(_log_loss(counted, larger), 4),
            f"log_loss_overall_share_cap_{cap}": round(
                _log_loss(np.full(len(larger), larger.mean()), larger), 4
            ),
            f"calibration_cap_{cap}": [
                [round(float(foretold[part].mean()), 3), round(float(larger[part].mean()), 3)]
                for part in order
            ],
        }
    return figures


def _log_loss(foretold: np.ndarray, found: np.ndarray) -> float:
    return float(-(found * np.log(foretold) + (1 - found) * np.log1p(-foretold)).mean())


def build_cell_size_table(tables: Sequence[Path], output: Path, figures: Path | None = None) -> None:
    """Write the counts of structure tables and, if asked, how good counts without the held-out formulas are."""
    cells = read_cells(tables)
    write_text(output, table_text(tables, count_crystals(cells)))
    if figures is not None:
        without = gather_counts(count_crystals([c for c in cells if not is_held_out(c.formula)]))
        names = " ".join(t.name for t in tables)
        found = judge(cells, without, network_of_z())
        command = f"mapcsp build-cell-size-table {names} --output cell_sizes.json --figures {figures.name}"
        write_json(figures, {"command": command, **found})

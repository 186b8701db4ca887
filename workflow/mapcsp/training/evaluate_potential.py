"""How well a potential orders polymorphs: the figures of resources/benchmarks/polymorphs.json.

Two known crystals of one formula are a pair; its order is right if the potential gives the lower energy to the one whose DFT
energy is lower. Protocols differ in the geometry (DFT's, or relaxed with the potential itself) and in the energies compared
(the potential's own, or formation energies, with MP2020 corrections where the potential needs them).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from mapcsp.metrics.match import wilson_interval
from mapcsp.provenance import code_id, current_commit, file_sha256, imported_modules, value_hash
from mapcsp.relax.backends import load_potential
from mapcsp.relax.potential import Potential
from mapcsp.relax.references import References, formation_energy_ev_per_atom, read_references
from mapcsp.relax.relaxation import Relaxation, relax_crystals
from mapcsp.settings import RelaxSettings
from mapcsp.store import read_records, write_json, write_records
from mapcsp.training.tables import KnownCrystal, read_structures

# Protocols, each a field of Polymorph.
PROTOCOLS = ("dft_geometry", "dft_geometry_corrected", "relaxed", "relaxed_corrected")
# Pairs at least this far apart in DFT, eV/atom.
GAPS_EV_PER_ATOM = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05)
_FORMULAS_PER_PART = 20


@dataclass(frozen=True)
class Polymorph:
    """A known crystal whose formula has others, and what a potential says of it; energies in eV/atom.

    table: where it is from. dft: DFT formation energy. dft_geometry, relaxed: the potential's energy before and after
    relaxation; with `_corrected`, the formation energies that follow. None where there is none. status: of the relaxation.
    """

    material_id: str
    formula: str
    table: str
    dft: float
    status: str
    dft_geometry: float | None
    dft_geometry_corrected: float | None
    relaxed: float | None
    relaxed_corrected: float | None


@dataclass(frozen=True)
class Pair:
    """Energy differences of two polymorphs, eV/atom, of DFT and of the potential, both first minus second."""

    formula: str
    true_ev_per_atom: float
    found_ev_per_atom: float

    @property
    def right(self) -> bool:
        """Whether the potential has them in DFT's order."""
        return self.true_ev_per_atom * self.found_ev_per_atom > 0


def choose_formulas(
    table: Path, elements: frozenset[str], max_atoms: int, count: int | None, seed: int
) -> list[list[KnownCrystal]]:
    """Crystals of formulas of which a table has several, formula by formula, in an order drawn by `seed`.

    max_atoms: of the primitive cells; larger polymorphs are as if they were not there. count: the first so many formulas;
    None for all.
    """
    by_formula: dict[str, list[KnownCrystal]] = defaultdict(list)
    for row in read_structures([table], max_atoms):
        if row.formation_energy_ev_per_atom is not None and set(row.crystal.species) <= elements:
            by_formula[row.formula].append(row)
    several = [formula for formula in sorted(by_formula) if len(by_formula[formula]) > 1]
    order = np.random.default_rng(seed).permutation(len(several))[:count]
    return [sorted(by_formula[several[k]], key=lambda row: row.material_id) for k in order]


def pairs_of(polymorphs: Iterable[Polymorph], protocol: str) -> list[Pair]:
    """All pairs of each formula in a table that have a DFT order and two energies by a protocol."""
    by_formula: dict[tuple[str, str], list[Polymorph]] = defaultdict(list)
    for polymorph in polymorphs:
        by_formula[polymorph.table, polymorph.formula].append(polymorph)
    pairs = []
    for (_, formula), members in by_formula.items():
        for a, b in combinations(members, 2):
            first, second = getattr(a, protocol), getattr(b, protocol)
            if first is not None and second is not None and a.dft != b.dft:
                pairs.append(Pair(formula, a.dft - b.dft, first - second))
    return pairs


def order_figures(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Share of pairs in the right order, with its 95 % Wilson interval (as if pairs of one formula were independent)."""
    if not pairs:
        return {"pairs": 0}
    right = sum(pair.right for pair in pairs)
    low, high = wilson_interval(right, len(pairs))
    return {
        "pairs": len(pairs),
        "formulas": len({pair.formula for pair in pairs}),
        "right": right,
        "share": round(right / len(pairs), 4),
        "interval": [round(low, 4), round(high, 4)],
    }


def noise_figures(pairs: Sequence[Pair]) -> dict[str, Any]:
    """What the potential's error leaves to be known.

    mae: of differences. closer_than_mae: pairs whose true difference is smaller. expected_share: pairs in the right order if
    each pair had the error of any other, of either sign: errors that know nothing of the pair that they spoil.
    """
    true = np.array([pair.true_ev_per_atom for pair in pairs])
    errors = np.array([pair.found_ev_per_atom for pair in pairs]) - true
    mae = float(np.abs(errors).mean())
    either = np.concatenate([errors, -errors])
    expected = float(np.mean([(gap + either > 0).mean() for gap in np.abs(true)]))
    return {
        "mae_ev_per_atom": round(mae, 4),
        "median_error_ev_per_atom": round(float(np.median(np.abs(errors))), 4),
        "median_true_difference_ev_per_atom": round(float(np.median(np.abs(true))), 4),
        "closer_than_mae": int((np.abs(true) < mae).sum()),
        "closer_than_2_mev": int((np.abs(true) < 0.002).sum()),
        "found_closer_than_1_mev": int((np.abs(true + errors) < 0.001).sum()),
        "expected_share": round(expected, 4),
    }


def protocol_figures(polymorphs: Sequence[Polymorph], protocol: str) -> dict[str, Any]:
    """One protocol's figures: pairs by their DFT difference, each formula's two lowest, each formula counting as one."""
    pairs = pairs_of(polymorphs, protocol)
    figures: dict[str, Any] = {}
    for gap in GAPS_EV_PER_ATOM:
        name = f"apart_by_{1000 * gap:.0f}_mev" if gap else "all"
        figures[name] = order_figures([p for p in pairs if abs(p.true_ev_per_atom) >= gap])
    by_formula: dict[str, list[Polymorph]] = defaultdict(list)
    for polymorph in polymorphs:
        by_formula[polymorph.formula].append(polymorph)
    lowest = [p for members in by_formula.values() for p in sorted(members, key=lambda p: p.dft)[:2]]
    figures["two_lowest"] = order_figures(pairs_of(lowest, protocol))
    shares: dict[str, list[bool]] = defaultdict(list)
    for pair in pairs:
        shares[pair.formula].append(pair.right)
    figures["mean_over_formulas"] = (
        round(float(np.mean([np.mean(s) for s in shares.values()])), 4) if shares else None
    )
    return figures | ({"noise": noise_figures(pairs)} if pairs else {})


def run_evaluate_potential(
    tables: Sequence[Path],
    name: str,
    work_dir: Path,
    output: Path,
    max_atoms: int = 12,
    count: int | None = None,
    relax: bool = True,
    seed: int = 1,
) -> None:
    """Evaluate the polymorphs of structure tables and write the figures.

    name: of the potential, as in the settings, whose other defaults hold. work_dir: keeps finished parts, so that a stopped
    run goes on. max_atoms, count, seed: as in `choose_formulas`, for each table. relax: also judge relaxed geometries.
    Raises UserError for a table or a potential that cannot be had.
    """
    torch.set_num_threads(1)
    settings = RelaxSettings.model_validate({"potential": name, **({} if relax else {"max_steps": 0})})
    potential = load_potential(name, settings.device)
    groups: dict[str, list[Polymorph]] = {}
    for table in tables:
        chosen = choose_formulas(table, potential.elements, max_atoms, count, seed)
        groups[table.stem] = _evaluated(chosen, table.stem, potential, settings, work_dir)
    everything = [polymorph for members in groups.values() for polymorph in members]
    options = ["" if relax else " --no-relax", "" if count is None else f" --count {count}"]
    write_json(
        output,
        {
            "command": f"mapcsp evaluate-potential --potential {name} --max-atoms {max_atoms} --seed {seed}"
            f"{''.join(options)} --work WORK --output OUT {' '.join(table.name for table in tables)}",
            "commit": current_commit(),
            "tables": {table.name: file_sha256(table) for table in tables},
            "potential": {"name": name, "content_hash": potential.content_hash},
            "crystals": len(everything),
            "relaxations": dict(sorted(Counter(p.status for p in everything).items())) if relax else None,
            "order": {
                group: {p: protocol_figures(members, p) for p in (PROTOCOLS if relax else PROTOCOLS[:2])}
                for group, members in {"all": everything, **groups}.items()
            },
        },
    )


def _evaluated(
    chosen: Sequence[Sequence[KnownCrystal]],
    table: str,
    potential: Potential,
    settings: RelaxSettings,
    work_dir: Path,
) -> list[Polymorph]:
    code = code_id(*imported_modules("relax/relax"))
    references, found = read_references(potential), []
    for start in tqdm(range(0, len(chosen), _FORMULAS_PER_PART), desc=table, unit="part", mininterval=10):
        part = [row for rows in chosen[start : start + _FORMULAS_PER_PART] for row in rows]
        key = [
            code,
            settings.model_dump(mode="json"),
            potential.content_hash,
            [row.material_id for row in part],
        ]
        path = work_dir / f"polymorphs-{value_hash(key)[:16]}.jsonl"
        if not path.exists():
            ends = relax_crystals([row.crystal for row in part], settings, potential)
            write_records(
                path, Polymorph, [_polymorph(table, row, end, references) for row, end in zip(part, ends)]
            )
        found += read_records(path, Polymorph)
    return found


def _polymorph(table: str, row: KnownCrystal, end: Relaxation, references: References | None) -> Polymorph:
    assert row.formation_energy_ev_per_atom is not None
    before, after = (
        end.initial_energy_ev_per_atom,
        end.energy_ev_per_atom if end.crystal is not None else None,
    )
    corrected = [
        None
        if references is None or energy is None or crystal is None
        else formation_energy_ev_per_atom(crystal, energy, references)
        for crystal, energy in ((row.crystal, before), (end.crystal, after))
    ]
    return Polymorph(
        row.material_id,
        row.formula,
        table,
        row.formation_energy_ev_per_atom,
        end.status,
        before,
        corrected[0],
        after,
        corrected[1],
    )

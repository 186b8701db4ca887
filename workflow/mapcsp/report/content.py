"""What each part of the report shows, worked out from the records of a run."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup
from pymatgen.analysis.diffraction.xrd import XRDCalculator
from pymatgen.core import Structure
from pymatgen.io.cif import CifParser
from pymatgen.io.vasp import Poscar

from mapcsp.crystals import space_group_symbol
from mapcsp.records import CandidateSummary, FormulaMaps, FormulaOutcome, RankedStructure
from mapcsp.report.maps import MapView, map_view
from mapcsp.report.notation import formula_html, number, percent, space_group_html
from mapcsp.report.plots import energy_volume_svg, powder_svg
from mapcsp.report.view3d import scene

ORIGINS = {
    "prototype": "geometry of {count} known crystal{s} with this label",
    "search": "genetic search, no known geometry",
    "user_seed": "a structure that the user gave as a seed",
}


@dataclass(frozen=True)
class Download:
    """A file inside the page: its button, its name and its content as a data URI."""

    text: str
    file_name: str
    uri: str


@dataclass(frozen=True)
class Fact:
    """A name with its value, for a list of facts."""

    name: str
    value: Markup | str


@dataclass(frozen=True)
class StructureView:
    """One ranked structure as the page shows it; key is unique in the report."""

    key: str
    ranked: RankedStructure
    space_group: Markup
    space_group_text: str
    probability: str
    volume_ang3_per_atom: float
    density_g_per_cm3: float
    alternative: str
    facts: tuple[Fact, ...]
    fitness: tuple[Fact, ...]
    scene: dict[str, Any]
    legend: tuple[dict[str, Any], ...]
    downloads: tuple[Download, ...]
    powder: Markup | None
    maps: MapView | None


@dataclass(frozen=True)
class FormulaView:
    """One formula as the page shows it; href leads to its section, from the index page."""

    outcome: FormulaOutcome
    html: Markup
    href: str
    structures: tuple[StructureView, ...]
    energy_volume: Markup | None


def formula_view(
    outcome: FormulaOutcome,
    candidates: Sequence[CandidateSummary],
    ranking_dir: Path,
    href: str,
    maps: FormulaMaps | None = None,
    powder_of: int = 100,
) -> FormulaView:
    """Everything about one formula; `powder_of`: simulate powder patterns of so many structures, best first."""
    return FormulaView(
        outcome=outcome,
        html=formula_html(outcome.formula),
        href=href,
        structures=tuple(
            _structure_view(s, ranking_dir, maps, with_powder=s.rank <= powder_of) for s in outcome.structures
        ),
        energy_volume=energy_volume_svg(candidates, outcome.formula),
    )


def _structure_view(
    ranked: RankedStructure, ranking_dir: Path, maps: FormulaMaps | None, with_powder: bool
) -> StructureView:
    cif = (ranking_dir / ranked.cif).read_text(encoding="utf-8")
    structure = CifParser.from_str(cif, frac_tolerance=0.0).parse_structures(
        primitive=False, check_occu=False
    )[0]
    symbol = space_group_symbol(ranked.space_group)
    drawn = scene(structure)
    cell = structure.lattice
    alternative = (
        f"Unit cell of {ranked.formula}, rank {ranked.rank}, space group {symbol}: {len(structure)} atoms, "
        f"a = {cell.a:.2f}, b = {cell.b:.2f}, c = {cell.c:.2f} Å."
    )
    return StructureView(
        key=f"{ranked.formula_id}-{ranked.rank}",
        ranked=ranked,
        space_group=space_group_html(symbol),
        space_group_text=symbol,
        probability=percent(ranked.probability),
        volume_ang3_per_atom=float(cell.volume / len(structure)),
        density_g_per_cm3=float(structure.density),
        alternative=alternative,
        facts=tuple(_facts(ranked, structure)),
        fitness=tuple(_fitness(ranked)),
        scene=drawn,
        legend=tuple(drawn["elements"]),
        downloads=tuple(_downloads(ranked, cif, structure)),
        powder=_powder(ranked, structure) if with_powder else None,
        maps=map_view(ranked, maps) if maps is not None else None,
    )


def _facts(ranked: RankedStructure, structure: Structure) -> list[Fact]:
    relaxed, candidate, cell = ranked.relaxed, ranked.relaxed.candidate, structure.lattice
    lengths = " × ".join(number(x) for x in cell.abc)
    angles = ", ".join(number(x, 2) + "°" for x in cell.angles)
    count = candidate.prototype_count
    origin = ORIGINS.get(candidate.origin, candidate.origin).format(count=count, s="" if count == 1 else "s")
    status = relaxed.status if not relaxed.reason else f"{relaxed.status} ({relaxed.reason})"
    change = None if relaxed.volume_change is None else 100 * relaxed.volume_change
    return [
        Fact("formation energy", number(ranked.formation_energy_ev_per_atom, 3, "eV/atom")),
        Fact("above the lowest candidate", number(ranked.energy_above_best_ev_per_atom, 3, "eV/atom")),
        Fact("potential energy", f"{number(ranked.energy_ev_per_atom, 3, 'eV/atom')} ({relaxed.potential})"),
        Fact("conventional cell", f"{lengths} Å; {angles}"),
        Fact(
            "atoms",
            f"{len(structure)} in this cell; {ranked.z} formula unit{'s'[: ranked.z > 1]} in the primitive cell",
        ),
        Fact(
            "volume, density",
            f"{number(cell.volume / len(structure), 2, 'Å³/atom')}, {number(structure.density, 2, 'g/cm³')}",
        ),
        Fact(
            "predicted label",
            f"{candidate.label.key} (place {candidate.label_rank + 1} of the predicted labels)",
        ),
        Fact("starts from", origin),
        Fact("relaxation", f"{status}, {relaxed.n_steps} steps, volume changed by {number(change, 1, '%')}"),
        Fact("duplicates merged", str(ranked.merged)),
    ]


def _fitness(ranked: RankedStructure) -> list[Fact]:
    terms = ranked.relaxed.candidate.fitness
    named = [
        ("fitness, total", terms.total, ""),
        ("distances under the map, mean log-likelihood", terms.map_log_likelihood, ""),
        ("distance error against the map", terms.distance_error_ang, "Å"),
        ("contact overlap (Dice)", terms.contact_dice, ""),
        ("bond validity", terms.bond_validity, ""),
        ("short distances, penalty", terms.short_distance, ""),
        ("label, log-probability", terms.label_log_prob, ""),
        ("cell, log density", terms.lattice_log_prob, ""),
    ]
    return [Fact(name, number(value, 3, unit)) for name, value, unit in named if value is not None]


def _downloads(ranked: RankedStructure, cif: str, structure: Structure) -> list[Download]:
    stem = f"{ranked.formula_id}_{ranked.rank}"
    files = [
        ("CIF", f"{stem}.cif", "chemical/x-cif", cif),
        ("POSCAR", f"{stem}.vasp", "text/plain", Poscar(structure).get_str()),
        ("JSON", f"{stem}.json", "application/json", json.dumps(structure.as_dict(), sort_keys=True)),
    ]
    return [
        Download(text, name, f"data:{kind};base64,{base64.b64encode(content.encode()).decode()}")
        for text, name, kind, content in files
    ]


def _powder(ranked: RankedStructure, structure: Structure) -> Markup:
    pattern = XRDCalculator(wavelength="CuKa").get_pattern(structure, two_theta_range=(10, 90))
    title = f"{ranked.formula}, rank {ranked.rank}"
    return powder_svg([float(x) for x in pattern.x], [float(y) for y in pattern.y], title)

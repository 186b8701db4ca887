"""What the report says of one structure in names and values, and why where there is no value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from pymatgen.core import Structure

from mapcsp.crystals import space_group_symbol
from mapcsp.records import RankedStructure, RelaxedCandidate
from mapcsp.report.notation import number

ORIGINS = {
    "prototype": "geometry of {count} known crystal{s} with this label",
    "search": "genetic search, no known geometry",
    "user_seed": "a structure that the user gave as a seed",
}
# How the relax stage begins that part of a candidate's reason.
DOUBT = "doubtful formation energy"
NO_REFERENCES = "no reference energy for one of its elements"
NO_PHASES = "no known phases (relax.hull_table)"
NO_SECOND = "no second potential (rescore.potential)"
NOT_ASKED = "only the likeliest candidates were asked (rescore.candidates)"
NOT_COMPARED = "fewer than two crystals to compare"
NO_PRERELAX = "no one-pass relaxation (relax.prerelax)"


@dataclass(frozen=True)
class Fact:
    """A name with its value, for a list of facts; `absent` says why there is no value, `doubt` why not to trust it."""

    name: str
    value: Markup | str = ""
    absent: str = ""
    doubt: str = ""


@dataclass(frozen=True)
class RunContext:
    """What the run did as a whole: it explains the values that single structures lack.

    second_potential: its name, empty without one. hull: whether any structure has an energy above the hull.
    prerelax: whether candidates were relaxed in one pass first.
    """

    second_potential: str
    hull: bool
    prerelax: bool

    @classmethod
    def of_run(
        cls, structures: list[RankedStructure], second_potential: str, settings: dict[str, Any]
    ) -> RunContext:
        """From all ranked structures, the ranking's second potential (`none` for none) and the settings by section."""
        return cls(
            second_potential="" if second_potential == "none" else second_potential,
            hull=any(s.relaxed.energy_above_hull_ev_per_atom is not None for s in structures),
            prerelax=settings.get("relax", {}).get("prerelax", "none") != "none",
        )


def doubt_of(relaxed: RelaxedCandidate) -> str:
    """Why the formation energy is doubtful, as the relaxation said; empty where nothing speaks against it."""
    return next((part for part in relaxed.reason.split("; ") if part.startswith(DOUBT)), "")


def structure_facts(ranked: RankedStructure, structure: Structure, run: RunContext) -> list[Fact]:
    """All facts of one ranked structure, whose conventional cell is `structure`; last those that have no value."""
    relaxed, candidate, cell = ranked.relaxed, ranked.relaxed.candidate, structure.lattice
    lengths = " × ".join(number(x) for x in cell.abc)
    angles = ", ".join(number(x, 2) + "°" for x in cell.angles)
    count = candidate.prototype_count
    origin = ORIGINS.get(candidate.origin, candidate.origin).format(count=count, s="" if count == 1 else "s")
    reason = "; ".join(part for part in relaxed.reason.split("; ") if part and not part.startswith(DOUBT))
    status = f"{relaxed.status} ({reason})" if reason else relaxed.status
    change = None if relaxed.volume_change is None else 100 * relaxed.volume_change
    facts = [
        *_energies(ranked, run),
        Fact("conventional cell", f"{lengths} Å; {angles}"),
        Fact(
            "atoms",
            f"{len(structure)} in this cell; {ranked.z:g} formula unit{'s'[: ranked.z != 1]} in the primitive cell",
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
        _one_pass(candidate.prerelax_uncertainty_ang, run),
        Fact("relaxation", f"{status}, {relaxed.n_steps} steps, volume changed by {number(change, 1, '%')}"),
        _symmetry(relaxed),
        Fact("duplicates merged", _merged(ranked)),
    ]
    return sorted(facts, key=lambda fact: bool(fact.absent))


def fitness_facts(ranked: RankedStructure) -> list[Fact]:
    """The fitness of the search, term by term, without the terms that it did not have."""
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


def _energies(ranked: RankedStructure, run: RunContext) -> list[Fact]:
    relaxed, doubt = ranked.relaxed, doubt_of(ranked.relaxed)
    formation, hull = ranked.formation_energy_ev_per_atom, relaxed.energy_above_hull_ev_per_atom
    second, apart = relaxed.rescored_energy_ev_per_atom, ranked.energy_uncertainty_ev_per_atom
    unit = "eV/atom"
    second_text = (
        f"{number(second, 3, unit)} ({relaxed.rescored_by}), "
        f"{number(ranked.rescored_above_best_ev_per_atom, 3, unit)} above its lowest"
    )
    return [
        _fact("formation energy", formation, number(formation, 3, unit), NO_REFERENCES, doubt),
        _fact(
            "energy above hull",
            hull,
            number(hull, 3, unit),
            NO_REFERENCES if formation is None else NO_PHASES,
            "as doubtful as the formation energy" if doubt else "",
        ),
        Fact("above the lowest candidate", number(ranked.energy_above_best_ev_per_atom, 3, unit)),
        Fact("potential energy", f"{number(ranked.energy_ev_per_atom, 3, unit)} ({relaxed.potential})"),
        _fact("second potential", second, second_text, NOT_ASKED if run.second_potential else NO_SECOND),
        _fact(
            "energy uncertainty",
            apart,
            f"{number(apart, 3, unit)}, by how far the potentials disagree",
            NO_SECOND if not run.second_potential else NOT_ASKED if second is None else NOT_COMPARED,
        ),
    ]


def _one_pass(uncertainty_ang: float | None, run: RunContext) -> Fact:
    absent = "this candidate was not relaxed in one pass" if run.prerelax else NO_PRERELAX
    return _fact("one-pass uncertainty", uncertainty_ang, number(uncertainty_ang, 3, "Å"), absent)


def _merged(ranked: RankedStructure) -> str:
    if not ranked.also_space_groups:
        return str(ranked.merged)
    others = ", ".join(f"{space_group_symbol(n)} (No. {n})" for n in ranked.also_space_groups)
    return f"{ranked.merged}, some of which the search for symmetry put into {others}"


def _symmetry(relaxed: RelaxedCandidate) -> Fact:
    space_group = f"the label's No. {relaxed.candidate.label.space_group}"
    text = f"kept {space_group}" if relaxed.symmetry_kept else f"did not keep {space_group}"
    return _fact("symmetry in relaxation", relaxed.symmetry_kept, text, "it was not looked at")


def _fact(name: str, known: object, text: str, absent: str, doubt: str = "") -> Fact:
    return Fact(name, absent=absent) if known is None else Fact(name, text, doubt=doubt)

"""The zero of energy: each element's ground state by the same potential, and formation energies against it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mapcsp.errors import UserError
from mapcsp.records import Crystal
from mapcsp.relax.corrections import mp2020_correction_ev_per_atom
from mapcsp.relax.fragments import interaction_fault
from mapcsp.relax.potential import Potential, evaluate
from mapcsp.relax.relaxation import relax_crystals
from mapcsp.resources import resources_dir
from mapcsp.settings import RelaxSettings
from mapcsp.store import read_json, write_json

REFERENCES_COMMAND = "mapcsp references"
RULE = (
    "lowest energy of the element's candidate crystals (mapcsp.relax.elemental_crystals), each relaxed with its symmetry "
    "kept to 0.02 eV/Å and 0.1 GPa"
)
_SETTINGS = RelaxSettings.model_validate(
    {
        "fmax_ev_per_ang": 0.02,
        "smax_gpa": 0.1,
        "max_steps": 1000,
        "keep_symmetry": True,
        "max_volume_change": 1.0,
    }
)


# Elements whose compounds the potential itself gets wrong, so that no reference energy mends their formation energies: the
# error an atom of the element (5 and 95 % of the errors for 40 crystals of the development data, eV). For Pu they fall into
# two groups, about right and about 2 eV too high. Other potentials were not looked at.
DOUBTFUL: dict[str, dict[str, tuple[float, float]]] = {
    "m3gnet": {"Np": (-0.38, 1.06), "Pu": (-0.15, 2.11)},
}


@dataclass(frozen=True, eq=False)
class References:
    """Elemental energies of one potential, eV/atom, by symbol."""

    potential: str
    content_hash: str
    needs_mp2020: bool
    energy_ev_per_atom: dict[str, float]

    def doubt(self, species: Sequence[str]) -> str:
        """What to say of the formation energy of a crystal with these elements; an empty text if it can be trusted."""
        known = DOUBTFUL.get(self.potential, {})
        errors = [
            f"{s}: {known[s][0]:+.1f} to {known[s][1]:+.1f} eV an atom"
            for s in sorted(set(species) & set(known))
        ]
        return f"doubtful formation energy: {self.potential} errs for {', '.join(errors)}" if errors else ""


def formation_energy_ev_per_atom(
    crystal: Crystal, energy_ev_per_atom: float, references: References
) -> float | None:
    """Formation energy of a crystal from its energy by the references' potential; None if an element has no reference.

    Comparable with the Materials Project's: MP2020 corrections are added where the potential learnt raw energies.
    """
    elements = [references.energy_ev_per_atom.get(s) for s in crystal.species]
    if None in elements:
        return None
    correction = mp2020_correction_ev_per_atom(crystal) if references.needs_mp2020 else 0.0
    return float(energy_ev_per_atom + correction - np.mean(np.array(elements, dtype=float)))


def references_path(potential: Potential) -> Path:
    """Where the table of a potential lies."""
    name = re.sub(r"[^\w.]+", "_", potential.name).strip("_")
    return resources_dir() / "tables" / f"reference_energies_{name}.json"


def read_references(potential: Potential) -> References | None:
    """Read the table of a potential; None if there is none.

    Raises UserError if the table was made with other parameters.
    """
    path = references_path(potential)
    if not path.exists():
        return None
    table = read_json(path)
    if table["content_hash"] != potential.content_hash:
        raise UserError(
            f"{path} was made with other parameters of {potential.name} ({table['content_hash'][:16]}, now "
            f"{potential.content_hash[:16]}); run `{REFERENCES_COMMAND}` to rebuild it"
        )
    energies = {symbol: entry["energy_ev_per_atom"] for symbol, entry in table["elements"].items()}
    return References(potential.name, potential.content_hash, bool(table["needs_mp2020"]), energies)


def write_references(
    potential: Potential, path: Path | None = None, progress: Callable[[int], None] | None = None
) -> Path:
    """Relax the elements' crystals and write the table (`RULE`); needs ASE. Returns the path.

    Raises UserError if an element ends without a relaxed crystal.
    """
    from mapcsp.relax.elemental_crystals import elemental_crystals

    starts = elemental_crystals(potential.elements)
    ends = relax_crystals([s.crystal for s in starts], _SETTINGS, potential, progress)
    best: dict[str, dict[str, str | float | int]] = {}
    for start, end in zip(starts, ends):
        energy = end.energy_ev_per_atom
        if end.status == "dropped" or energy is None:
            continue
        if start.element not in best or energy < float(best[start.element]["energy_ev_per_atom"]):
            best[start.element] = {
                "energy_ev_per_atom": round(energy, 6),
                "structure": start.structure,
                "n_atoms": start.crystal.n_atoms,
                "status": end.status,
            }
    for start in starts:
        # Caesium's atoms are out of M3GNet's reach of each other: no relaxation tells its cell, but its energy was learnt.
        if start.element not in best and interaction_fault(start.crystal, potential.cutoff_ang, "")[0]:
            (found,) = evaluate(potential, [start.crystal])
            best[start.element] = {
                "energy_ev_per_atom": round(found.energy_ev / start.crystal.n_atoms, 6),
                "structure": start.structure,
                "n_atoms": start.crystal.n_atoms,
                "status": "not relaxed",
            }
    missing = sorted(potential.elements - set(best))
    if missing:
        raise UserError(f"no elemental crystal of {', '.join(missing)} relaxed with {potential.name}")
    path = path or references_path(potential)
    write_json(
        path,
        {
            "potential": potential.name,
            "content_hash": potential.content_hash,
            "needs_mp2020": potential.needs_mp2020,
            "rule": RULE,
            "elements": best,
        },
    )
    return path

"""`relax` and `score`: crystals from files or from pymatgen, relaxed, or compared with known ones."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd
from pymatgen.core import Structure

from mapcsp.api.formulas import SettingsLike, as_settings
from mapcsp.api.tables import Tabled
from mapcsp.crystals import space_group_symbol, to_structure
from mapcsp.errors import UserError
from mapcsp.metrics.structures import StructureDistances
from mapcsp.records import Crystal
from mapcsp.relax.relaxation import Relaxation
from mapcsp.store import write_text
from mapcsp.structure_files.read import from_pymatgen, read_crystals, read_one_crystal
from mapcsp.structure_files.record import ReadCrystal

StructureLike = Structure | Crystal | str | Path


@dataclass(frozen=True, eq=False, repr=False)
class RelaxResults(Tabled):
    """Relaxed crystals, in the order given; a file with several has a row for each.

    starts: before relaxation, None where none could be read: its relaxation has the status `failed` and the reason.
    cautions: what is to be known of how each was read. formation_energies_ev_per_atom: None where the potential has no
    reference energies.
    """

    names: tuple[str, ...]
    starts: tuple[Crystal | None, ...]
    cautions: tuple[tuple[str, ...], ...]
    relaxations: tuple[Relaxation, ...]
    formation_energies_ev_per_atom: tuple[float | None, ...]
    potential: str
    symprec_ang: float

    @property
    def structures(self) -> list[Structure | None]:
        """The relaxed crystals, in the cells given; None where the relaxation was dropped."""
        return [None if r.crystal is None else to_structure(r.crystal) for r in self.relaxations]

    @property
    def table(self) -> pd.DataFrame:
        """One row a crystal: energies, what is left of forces and stress, space groups before and after."""
        rows = [
            {
                "name": name,
                "formula": None if start is None else to_structure(start).composition.reduced_formula,
                "n_atoms": None if start is None else start.n_atoms,
                "status": end.status,
                "energy_ev_per_atom": end.energy_ev_per_atom,
                "formation_energy_ev_per_atom": formation,
                "initial_energy_ev_per_atom": end.initial_energy_ev_per_atom,
                "volume_change": end.volume_change,
                "space_group_before": self._space_group(start),
                "space_group": self._space_group(end.crystal),
                "max_force_ev_per_ang": end.max_force_ev_per_ang,
                "max_stress_gpa": end.max_stress_gpa,
                "n_steps": end.n_steps,
                "potential": self.potential,
                "reason": end.reason,
                "caution": "; ".join(cautions),
            }
            for name, start, cautions, end, formation in zip(
                self.names, self.starts, self.cautions, self.relaxations, self.formation_energies_ev_per_atom
            )
        ]
        numbers = ["formation_energy_ev_per_atom", "energy_ev_per_atom", "initial_energy_ev_per_atom"]
        numbers += ["volume_change", "max_force_ev_per_ang", "max_stress_gpa"]
        whole = ["n_atoms", "space_group_before", "space_group"]
        return pd.DataFrame(rows).astype(dict.fromkeys(whole, "Int64") | dict.fromkeys(numbers, float))

    def _space_group(self, crystal: Crystal | None) -> int | None:
        return None if crystal is None else _space_group(crystal, self.symprec_ang)


@dataclass(frozen=True, eq=False, repr=False)
class ScoreResults(Tabled):
    """How near a predicted crystal is to the true one.

    rms_loose, rms_strict: displacement of the best match in units of (V/n)^(1/3); None without a match.
    space_groups: of the predicted and the true crystal. volume_error: predicted / true per atom, less 1.
    cautions: what is to be known of how the two were read.
    """

    rms_loose: float | None
    rms_strict: float | None
    space_groups: tuple[int, int]
    volume_error: float
    distances: StructureDistances
    cautions: tuple[str, ...] = ()

    @property
    def table(self) -> pd.DataFrame:
        """One row a metric; an empty value has its reason in the note."""
        reasons = dict(self.distances.reasons)
        predicted, true = self.space_groups
        no_match = "no match within these tolerances"
        rows: list[tuple[str, float | None, str, str]] = [
            ("match_loose", float(self.rms_loose is not None), "", "1 if ltol .3, stol .5, 10 degrees match"),
            ("rms_loose", self.rms_loose, "(V/n)^(1/3)", no_match if self.rms_loose is None else ""),
            (
                "match_strict",
                float(self.rms_strict is not None),
                "",
                "1 if ltol .2, stol .3, 5 degrees match",
            ),
            ("rms_strict", self.rms_strict, "(V/n)^(1/3)", no_match if self.rms_strict is None else ""),
            ("space_group_equal", float(predicted == true), "", _groups_note(predicted, true)),
            ("volume_error", self.volume_error, "fraction", "predicted / true per atom, less 1"),
        ]
        for field in fields(self.distances):
            if field.name in _DISTANCE_NOTES:
                value, (unit, note) = getattr(self.distances, field.name), _DISTANCE_NOTES[field.name]
                rows.append(
                    (field.name, value, unit, note if value is not None else reasons.get(field.name, ""))
                )
        return pd.DataFrame(rows, columns=["metric", "value", "unit", "note"])


_DISTANCE_NOTES = {
    "energy_ev": ("eV/atom", "difference of potential energies"),
    "superpose_ang": ("Å", "RMS displacement of superposed atoms"),
    "sinkhorn_ang": ("Å/atom", "transport cost between environments"),
    "fingerprint": ("", "distance of CrystalNN site statistics"),
    "ofm": ("", "distance of orbital-field matrices"),
    "wyckoff_mse": ("", "of fractional coordinates of matched atoms"),
    "wyckoff_rmse": ("", "of fractional coordinates of matched atoms"),
    "distance_overlap": ("fraction", "true pairs within 8 Å that are predicted so"),
    "powder": ("", "distance of powder patterns"),
}


def relax(
    structures: StructureLike | Iterable[StructureLike],
    *,
    potential: str | None = None,
    settings: SettingsLike = None,
    elements: Sequence[str] = (),
) -> RelaxResults:
    """Relax cells and positions of crystals together.

    structures: pymatgen structures, records, or files with one crystal or several (CIF, POSCAR, what ASE reads).
    potential: as in `relax.potential`, default that of the settings, of which the section relax is read. elements: symbols
    for POSCAR and LAMMPS files that name none, in the order of their counts or types.
    What cannot be read is a row with the status `failed`, what cannot be relaxed one with `dropped`, each with a reason; the
    others are relaxed. Raises UserError for a file that is not there and for a potential that is not there.
    """
    from tqdm import tqdm

    from mapcsp.relax.backends import load_potential
    from mapcsp.relax.references import formation_energy_ev_per_atom, read_references
    from mapcsp.relax.relaxation import relax_crystals

    chosen = as_settings(settings)
    given = _several(structures)
    if not given:
        raise UserError("no structure was given; give at least one file or pymatgen Structure")
    read = [found for structure in given for found in _read(structure, elements)]
    loaded = load_potential(potential or chosen.relax.potential, chosen.relax.device)
    references = read_references(loaded)
    starts = [found.crystal for found in read if found.crystal is not None]
    with tqdm(total=len(starts), desc="relax", leave=False, disable=None) as bar:
        relaxed = iter(relax_crystals(starts, chosen.relax, loaded, bar.update))
    ends = [Relaxation("failed", found.reason) if found.crystal is None else next(relaxed) for found in read]
    formation = [
        None
        if references is None or end.crystal is None or end.energy_ev_per_atom is None
        else formation_energy_ev_per_atom(end.crystal, end.energy_ev_per_atom, references)
        for end in ends
    ]
    return RelaxResults(
        tuple(found.name for found in read),
        tuple(found.crystal for found in read),
        tuple(found.cautions for found in read),
        tuple(ends),
        tuple(formation),
        f"{loaded.name} {loaded.content_hash[:12]}",
        chosen.ranking.symprec_ang,
    )


def score(
    predicted: StructureLike,
    true: StructureLike,
    *,
    potential: str | None = None,
    settings: SettingsLike = None,
    elements: Sequence[str] = (),
) -> ScoreResults:
    """Compare a predicted crystal with the true one: match, RMS and the metrics of AlphaCrystal-II.

    potential: also compare energies by it, such as `m3gnet`. elements: as in `relax`. Raises UserError for files that
    cannot be read or hold several crystals, and for crystals of different formulas.
    """
    from mapcsp.metrics.match import LOOSE, STRICT, match_rms
    from mapcsp.metrics.structures import compare_structures

    chosen = as_settings(settings)
    read = [_read_one(structure, elements) for structure in (predicted, true)]
    p, t = read[0][1], read[1][1]
    formulas = [to_structure(c).composition.reduced_formula for c in (p, t)]
    if formulas[0] != formulas[1]:
        raise UserError(
            f"{read[0][0].name} is {formulas[0]} and {read[1][0].name} is {formulas[1]}; only crystals of one formula "
            "can be compared"
        )
    energies = None
    if potential is not None:
        from mapcsp.relax.backends import load_potential
        from mapcsp.relax.potential import evaluate

        loaded = load_potential(potential, chosen.relax.device)

        def energies(crystals: Sequence[Crystal]) -> list[float]:
            return [result.energy_ev for result in evaluate(loaded, crystals)]

    with warnings.catch_warnings():
        # pymatgen's site finders warn of missing oxidation states, which these metrics do not use.
        warnings.simplefilter("ignore")
        distances = compare_structures(p, t, energies)
    symprec = chosen.ranking.symprec_ang
    return ScoreResults(
        match_rms(p, t, LOOSE),
        match_rms(p, t, STRICT),
        (_space_group(p, symprec), _space_group(t, symprec)),
        (p.volume_ang3 / p.n_atoms) / (t.volume_ang3 / t.n_atoms) - 1,
        distances,
        tuple(f"{found.name}: {caution}" for found, _ in read for caution in found.cautions),
    )


def write_cif_files(results: RelaxResults, folder: Path) -> list[str]:
    """Write the relaxed crystals as `<folder>/<name>.cif`, named like their files; others have no file.

    The second crystal of `frames.xyz` becomes `frames_2.cif`. Returns the names of the files in the order of the results,
    empty where there is none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[str] = []
    for name, structure in zip(results.names, results.structures):
        path, frame = name, ""
        if found := re.fullmatch(r"(.*)#(\d+)", name):
            path, frame = found[1], f"_{found[2]}"
        # POSCAR files of different folders have one name.
        stem, number = f"{Path(path).stem}{frame}", 1
        while (file := f"{stem}{'' if number == 1 else f'_{number}'}.cif") in written:
            number += 1
        if structure is not None:
            write_text(folder / file, str(structure.to(fmt="cif")))
        written.append("" if structure is None else file)
    return written


def _read(structure: StructureLike, elements: Sequence[str]) -> list[ReadCrystal]:
    """The crystals of a file, or the one given, with their names."""
    if isinstance(structure, Crystal):
        return [ReadCrystal(str(to_structure(structure).composition.reduced_formula), structure)]
    if isinstance(structure, Structure):
        return [from_pymatgen(structure)]
    return read_crystals(Path(structure), elements)


def _read_one(structure: StructureLike, elements: Sequence[str]) -> tuple[ReadCrystal, Crystal]:
    if isinstance(structure, str | Path):
        return read_one_crystal(Path(structure), elements)
    (found,) = _read(structure, elements)
    if found.crystal is None:
        raise UserError(f"a structure cannot be used ({found.reason}); give an ordered crystal")
    return found, found.crystal


def _several(structures: StructureLike | Iterable[StructureLike]) -> list[StructureLike]:
    if isinstance(structures, Structure | Crystal | str | Path):
        return [structures]
    return list(structures)


def _space_group(crystal: Crystal, symprec_ang: float) -> int:
    from mapcsp.ranking.symmetry_found import find_symmetry

    return find_symmetry(crystal, symprec_ang).space_group


def _groups_note(predicted: int, true: int) -> str:
    symbols = [f"{space_group_symbol(number)} ({number})" for number in (predicted, true)]
    return f"{symbols[0]} predicted, {symbols[1]} true"

"""`relax` and `score`: crystals from files or from pymatgen, relaxed, or compared with known ones."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd
from pymatgen.core import Structure

from mapcsp.api.formulas import SettingsLike, as_settings
from mapcsp.api.tables import Tabled
from mapcsp.crystals import from_structure, space_group_symbol, to_structure
from mapcsp.errors import UserError
from mapcsp.metrics.structures import StructureDistances
from mapcsp.records import Crystal
from mapcsp.relax.relaxation import Relaxation
from mapcsp.store import write_text

StructureLike = Structure | Crystal | str | Path


@dataclass(frozen=True, eq=False, repr=False)
class RelaxResults(Tabled):
    """Relaxed crystals, in the order given.

    formation_energies_ev_per_atom: None where the potential has no reference energies. starts: before relaxation.
    """

    names: tuple[str, ...]
    starts: tuple[Crystal, ...]
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
                "formula": to_structure(start).composition.reduced_formula,
                "n_atoms": start.n_atoms,
                "status": end.status,
                "energy_ev_per_atom": end.energy_ev_per_atom,
                "formation_energy_ev_per_atom": formation,
                "initial_energy_ev_per_atom": end.initial_energy_ev_per_atom,
                "volume_change": end.volume_change,
                "space_group_before": self._space_group(start),
                "space_group": None if end.crystal is None else self._space_group(end.crystal),
                "max_force_ev_per_ang": end.max_force_ev_per_ang,
                "max_stress_gpa": end.max_stress_gpa,
                "n_steps": end.n_steps,
                "potential": self.potential,
                "reason": end.reason,
            }
            for name, start, end, formation in zip(
                self.names, self.starts, self.relaxations, self.formation_energies_ev_per_atom
            )
        ]
        return pd.DataFrame(rows).astype({"space_group": "Int64"})

    def _space_group(self, crystal: Crystal) -> int:
        return _space_group(crystal, self.symprec_ang)


@dataclass(frozen=True, eq=False, repr=False)
class ScoreResults(Tabled):
    """How near a predicted crystal is to the true one.

    rms_loose, rms_strict: displacement of the best match in units of (V/n)^(1/3); None without a match.
    space_groups: of the predicted and the true crystal. volume_error: predicted / true per atom, less 1.
    """

    rms_loose: float | None
    rms_strict: float | None
    space_groups: tuple[int, int]
    volume_error: float
    distances: StructureDistances

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
) -> RelaxResults:
    """Relax cells and positions of crystals together.

    structures: pymatgen structures, records, or files that pymatgen reads (CIF, POSCAR, …). potential: as in
    `relax.potential`, default that of the settings, of which the section relax is read.
    A crystal that cannot be relaxed is a row with the status `dropped` and a reason. Raises UserError for a file that
    cannot be read and for a potential that is not there.
    """
    from tqdm import tqdm

    from mapcsp.relax.backends import load_potential
    from mapcsp.relax.references import formation_energy_ev_per_atom, read_references
    from mapcsp.relax.relaxation import relax_crystals

    chosen = as_settings(settings)
    given = _several(structures)
    if not given:
        raise UserError("no structure was given; give at least one file or pymatgen Structure")
    starts = [as_crystal(structure) for structure in given]
    loaded = load_potential(potential or chosen.relax.potential, chosen.relax.device)
    references = read_references(loaded)
    with tqdm(total=len(starts), desc="relax", leave=False, disable=None) as bar:
        ends = relax_crystals(starts, chosen.relax, loaded, bar.update)
    formation = [
        None
        if references is None or end.crystal is None or end.energy_ev_per_atom is None
        else formation_energy_ev_per_atom(end.crystal, end.energy_ev_per_atom, references)
        for end in ends
    ]
    names = tuple(_name(structure, start) for structure, start in zip(given, starts))
    label = f"{loaded.name} {loaded.content_hash[:12]}"
    symprec = chosen.ranking.symprec_ang
    return RelaxResults(names, tuple(starts), tuple(ends), tuple(formation), label, symprec)


def score(
    predicted: StructureLike,
    true: StructureLike,
    *,
    potential: str | None = None,
    settings: SettingsLike = None,
) -> ScoreResults:
    """Compare a predicted crystal with the true one: match, RMS and the metrics of AlphaCrystal-II.

    potential: also compare energies by it, such as `m3gnet`. Raises UserError for files that cannot be read and for
    crystals of different formulas.
    """
    from mapcsp.metrics.match import LOOSE, STRICT, match_rms
    from mapcsp.metrics.structures import compare_structures

    chosen = as_settings(settings)
    p, t = as_crystal(predicted), as_crystal(true)
    formulas = [to_structure(c).composition.reduced_formula for c in (p, t)]
    if formulas[0] != formulas[1]:
        raise UserError(
            f"{_name(predicted, p)} is {formulas[0]} and {_name(true, t)} is {formulas[1]}; only crystals of one formula "
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
    )


def write_cif_files(results: RelaxResults, folder: Path) -> list[str]:
    """Write the relaxed crystals as `<folder>/<name>.cif`, named like their files; dropped ones have no file.

    Returns the names of the files in the order of the results, empty where there is none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[str] = []
    for name, structure in zip(results.names, results.structures):
        # POSCAR files of different folders have one name.
        stem, number = Path(name).stem, 1
        while (file := f"{stem}{'' if number == 1 else f'_{number}'}.cif") in written:
            number += 1
        if structure is not None:
            write_text(folder / file, str(structure.to(fmt="cif")))
        written.append("" if structure is None else file)
    return written


def as_crystal(structure: StructureLike) -> Crystal:
    """A crystal from a record, a pymatgen structure or a file; raises UserError, naming the file."""
    if isinstance(structure, Crystal):
        return structure
    if isinstance(structure, Structure):
        try:
            return from_structure(structure)
        except (ValueError, AttributeError) as error:
            raise UserError(f"a structure cannot be used: {error}; {_EXPECTED}") from None
    return _read(Path(structure))


def _read(path: Path) -> Crystal:
    if not path.is_file():
        raise UserError(f"{path} is not a file; give a CIF or POSCAR file")
    try:
        with warnings.catch_warnings():
            # Rounded coordinates and the like, which pymatgen mends.
            warnings.simplefilter("ignore")
            structure = Structure.from_file(str(path))
    except Exception as error:
        # pymatgen's readers of many formats raise whatever their parsing meets.
        raise UserError(
            f"{path} cannot be read as a crystal ({str(error).strip() or type(error).__name__}); {_EXPECTED}"
        ) from None
    try:
        return from_structure(structure)
    except (ValueError, AttributeError) as error:
        raise UserError(f"{path}: {error}; {_EXPECTED}") from None


_EXPECTED = "give an ordered crystal as CIF or POSCAR"


def _several(structures: StructureLike | Iterable[StructureLike]) -> list[StructureLike]:
    if isinstance(structures, Structure | Crystal | str | Path):
        return [structures]
    return list(structures)


def _name(structure: StructureLike, crystal: Crystal) -> str:
    if isinstance(structure, str | Path):
        return str(structure)
    return str(to_structure(crystal).composition.reduced_formula)


def _space_group(crystal: Crystal, symprec_ang: float) -> int:
    from mapcsp.ranking.symmetry_found import find_symmetry

    return find_symmetry(crystal, symprec_ang).space_group


def _groups_note(predicted: int, true: int) -> str:
    symbols = [f"{space_group_symbol(number)} ({number})" for number in (predicted, true)]
    return f"{symbols[0]} predicted, {symbols[1]} true"

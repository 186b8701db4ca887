"""Known crystals in terms of their canonical labels: what the symmetry and map networks learn from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mapcsp.provenance import file_sha256
from mapcsp.store import read_records, write_records
from mapcsp.symmetry.labels import AnonymousLabel, anonymise, encode_canonical
from mapcsp.training.tables import KnownCrystal, read_structures

MAX_ATOMS = 24
"""Atoms in the cell of the largest crystals that are learned from."""


@dataclass(frozen=True, eq=False)
class EncodedKnown:
    """A known crystal as its label and free parameters.

    anonymous_key: AnonymousLabel.key; elements: of each role, in its order. z: formula units in the primitive cell.
    cell: (6,), conventional, Å and degrees. free_coords: (f,), of the canonical label with elements `label_key`.
    """

    material_id: str
    formula: str
    label_key: str
    anonymous_key: str
    elements: tuple[str, ...]
    z: int
    n_atoms: int
    cell: np.ndarray
    free_coords: np.ndarray
    formation_energy_ev_per_atom: float | None
    energy_above_hull_ev_per_atom: float | None

    @property
    def anonymous(self) -> AnonymousLabel:
        """The label without elements."""
        return AnonymousLabel.from_key(self.anonymous_key)


def encode_known(
    known: Iterable[KnownCrystal], symprec_ang: float = 0.1
) -> tuple[list[EncodedKnown], list[tuple[str, str]]]:
    """Encode crystals; returns them and (material id, reason) of those that cannot be.

    A crystal whose symmetrised primitive cell is smaller than the given one is encoded in the smaller one.
    """
    encoded, failed = [], []
    for row in known:
        try:
            found = encode_canonical(row.crystal, symprec_ang)
        except ValueError as error:
            failed.append((row.material_id, str(error)))
            continue
        anonymous, elements = anonymise(found.label)
        encoded.append(
            EncodedKnown(
                row.material_id,
                row.formula,
                found.label.key,
                anonymous.key,
                elements,
                found.z,
                sum(anonymous.counts),
                found.cell,
                found.free_coords,
                row.formation_energy_ev_per_atom,
                row.energy_above_hull_ev_per_atom,
            )
        )
    return encoded, failed


def write_encoded(path: Path, encoded: list[EncodedKnown], **provenance) -> None:
    """Write encoded crystals (a working file of the training, not shipped)."""
    write_records(path, EncodedKnown, encoded, **provenance)


def read_encoded(path: Path) -> list[EncodedKnown]:
    """Read encoded crystals."""
    return read_records(path, EncodedKnown)


def encoded_tables(tables: Sequence[Path], work: Path) -> list[EncodedKnown]:
    """Encode structure tables, each once: the work folder keeps what came of a table of these bytes.

    Crystals of more than MAX_ATOMS and those that cannot be encoded are left out; the latter are printed with the reason.
    """
    found: list[EncodedKnown] = []
    for table in tables:
        path = work / f"{table.stem}-{file_sha256(table)[:12]}.jsonl"
        if not path.exists():
            known = read_structures([table], MAX_ATOMS)
            encoded, failed = encode_known(tqdm(known, desc=f"encoding {table.stem}", mininterval=10))
            for identifier, reason in failed:
                print(f"{table.name}: {identifier} left out: {reason}", flush=True)
            write_encoded(path, encoded)
        found += read_encoded(path)
    return found

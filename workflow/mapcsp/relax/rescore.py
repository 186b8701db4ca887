"""The rescore stage: the likeliest relaxed candidates of each formula get the energy of a second potential.

M3GNet errs by 10 to 50 meV/atom between polymorphs, which is as much as they differ; a second, slower potential is asked
where it matters. Single points of M3GNet's crystals: the errors of the geometry largely cancel within one formula.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from mapcsp.crystals import neighbour_distances
from mapcsp.devices import choose_device
from mapcsp.errors import UnsupportedElementError, UserError
from mapcsp.provenance import file_sha256, value_hash, versions
from mapcsp.records import Crystal, RelaxedCandidate, RelaxedPool
from mapcsp.settings import RescoreSettings, read_section
from mapcsp.store import read_header, read_records, write_records

# How much energy weighs as much as a factor e of a label's probability, to choose who gets a second energy: about what
# the relaxing potential errs between polymorphs.
ENERGY_SCALE_EV_PER_ATOM = 0.03
# Two relaxed candidates that agree this well are one crystal, relaxed twice.
TWIN_EV_PER_ATOM, TWIN_ANG = 0.001, 0.02
# Far enough to tell stackings of one layer apart: ideal hcp has the first 18 neighbour distances of fcc, wurtzite the
# first 16 of zinc blende.
TWIN_NEIGHBOURS = 32

Progress = Callable[[int], object]


class EnergyModel(Protocol):
    """A potential that gives energies."""

    name: str
    content_hash: str

    def energies_ev_per_atom(self, crystals: Sequence[Crystal]) -> np.ndarray:
        """Energies: (n,), eV/atom; raises UnsupportedElementError."""
        ...


def rescore_pool(
    pool: RelaxedPool, candidates: int, model: EnergyModel, progress: Progress | None = None
) -> RelaxedPool:
    """Give the `candidates` likeliest distinct crystals of a pool a second energy; twins share it.

    progress: called with 1 for each energy. A formula with an element that the model does not know keeps its pool as it is.
    """
    found: dict[int, float] = {}
    for members in distinct_crystals(pool.candidates)[:candidates]:
        crystal = pool.candidates[members[0]].crystal
        if crystal is None:
            continue
        try:
            energy = float(model.energies_ev_per_atom([crystal])[0])
        except UnsupportedElementError:
            return pool
        if progress is not None:
            progress(1)
        # A crystal on which the model fails stays without a second energy.
        if np.isfinite(energy):
            found.update(dict.fromkeys(members, energy))
    label = f"{model.name} {model.content_hash[:12]}"
    rescored = (
        replace(r, rescored_energy_ev_per_atom=found[i], rescored_by=label) if i in found else r
        for i, r in enumerate(pool.candidates)
    )
    return replace(pool, candidates=tuple(rescored))


def distinct_crystals(candidates: Sequence[RelaxedCandidate]) -> list[tuple[int, ...]]:
    """Positions of the candidates with a crystal and an energy, twins together, likeliest first.

    Likely is a probable label and a low energy, in the ratio of ENERGY_SCALE_EV_PER_ATOM.
    """
    energies = {
        i: r.energy_ev_per_atom
        for i, r in enumerate(candidates)
        if r.status != "dropped" and r.crystal is not None and r.energy_ev_per_atom is not None
    }
    order = sorted(
        energies,
        key=lambda i: (energies[i] / ENERGY_SCALE_EV_PER_ATOM - candidates[i].candidate.label_log_prob, i),
    )
    found: list[list[int]] = []
    shapes: dict[int, np.ndarray] = {}
    for i in order:
        shapes[i] = _shape(candidates[i].crystal)
        twin = next((m for m in found if _is_twin(m[0], i, energies, shapes)), None)
        if twin is None:
            found.append([i])
        else:
            twin.append(i)
    return [tuple(members) for members in found]


def _is_twin(a: int, b: int, energies: dict[int, float], shapes: dict[int, np.ndarray]) -> bool:
    return (
        abs(energies[a] - energies[b]) < TWIN_EV_PER_ATOM
        and float(np.abs(shapes[a] - shapes[b]).max()) < TWIN_ANG
    )


def _shape(crystal: Crystal | None) -> np.ndarray:
    """Mean distance to the nearest, second, ... neighbour of each element's atoms: (elements, k), Å; one for all cells."""
    if crystal is None:
        raise ValueError("a dropped candidate has no shape")
    distance, species = neighbour_distances(crystal, TWIN_NEIGHBOURS), np.array(crystal.species)
    return np.array([distance[species == symbol].mean(axis=0) for symbol in sorted(set(crystal.species))])


def load_energy_model(name: str, device: str) -> EnergyModel:
    """Load a second potential; raises UserError if its package is not installed or the device is not there."""
    from mapcsp.relax.sevennet import SevenNetEnergies

    return SevenNetEnergies(name, choose_device(device))


def run_rescore(
    relaxed_file: Path, settings_file: Path, output: Path, device: str, progress: Progress | None = None
) -> None:
    """Rescore the relaxed pools of one chunk; writes them with their second energies.

    device: `relax.device`, which holds for both potentials. Raises UserError if there is no second potential: not wanted,
    or its package not installed.
    """
    settings = read_section(settings_file, RescoreSettings)
    name = settings.second_potential()
    if name is None:
        raise UserError(
            f"rescore.potential is {settings.potential} and the package sevenn is not installed, so there is nothing to do; "
            "install it with `pip install 'mapcsp[sevennet]'`, or rank the relaxed pools as they are"
        )
    model = load_energy_model(name, device)
    pools = read_records(relaxed_file, RelaxedPool)
    write_records(
        output,
        RelaxedPool,
        [rescore_pool(pool, settings.candidates, model, progress) for pool in pools],
        settings=value_hash(settings.model_dump()),
        inputs={relaxed_file.name: file_sha256(relaxed_file)},
        potential=model.content_hash,
        versions=versions(headers=[read_header(relaxed_file)]),
    )

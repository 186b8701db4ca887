"""The Materials Project's energy corrections, for potentials trained on its uncorrected energies.

Source: Wang et al., "A framework for quantifying uncertainty in DFT energy corrections", Scientific Reports 11, 15496
(2021), as pymatgen applies it.
"""

from __future__ import annotations

import warnings
from functools import cache

from pymatgen.core import Composition
from pymatgen.entries.compatibility import MaterialsProject2020Compatibility
from pymatgen.entries.computed_entries import ComputedStructureEntry

from mapcsp.crystals import to_structure
from mapcsp.records import Crystal


def mp2020_correction_ev_per_atom(crystal: Crystal) -> float:
    """MP2020 correction of a crystal: anions by their kind, and +U metals in oxides and fluorides; eV/atom.

    The metals get the correction of the +U calculation that the Materials Project would have run, since the potential
    learnt from those.
    """
    structure = to_structure(crystal)
    composition = structure.composition
    scheme = _scheme()
    with warnings.catch_warnings():
        # pymatgen warns where it finds no oxidation states; its rule for that case (correct the most electronegative
        # element) is the Materials Project's own. It also warns of noble gases, which have no electronegativity.
        warnings.simplefilter("ignore")
        ordered = sorted(
            composition.elements, key=lambda element: element.X if element.X == element.X else 0.0
        )
        expected = scheme.u_settings.get(ordered[-1].symbol, {})
        hubbards = {e.symbol: expected[e.symbol] for e in ordered if expected.get(e.symbol)}
        entry = ComputedStructureEntry(
            structure,
            0.0,
            parameters={"run_type": "GGA+U" if hubbards else "GGA", "hubbards": hubbards, "software": "none"},
            data={"oxidation_states": dict(_oxidation_states(composition.reduced_formula))},
        )
        adjustments = scheme.get_adjustments(entry)
    return float(sum(a.value for a in adjustments)) / crystal.n_atoms


@cache
def _scheme() -> MaterialsProject2020Compatibility:
    return MaterialsProject2020Compatibility(check_potcar=False)


@cache
def _oxidation_states(formula: str) -> tuple[tuple[str, float], ...]:
    try:
        guesses = Composition(formula).oxi_state_guesses(max_sites=-20)
    except ValueError:  # the composition is too large for the search
        guesses = ()
    return tuple(guesses[0].items()) if guesses else ()

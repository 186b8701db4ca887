"""Smact's two tests of a composition: do oxidation states balance, and do anions attract electrons more than cations.

Davies et al., Chem 1, 617 (2016). Oxidation states and electronegativities are smact's (ICSD 2024, states reported at
least three times, mixed valence where smact allows it). smact tries every combination of states, which explodes for many
elements; here the same answers come from sets of reachable charges. A test compares them with smact's own function.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache


@dataclass(frozen=True)
class SmactTests:
    """Outcome of both tests; None where smact has no data for an element, or the formula is an element."""

    charge_neutral: bool | None
    electronegativity_balanced: bool | None


@dataclass(frozen=True)
class _Ion:
    """What smact knows of an element. mixed_valence: its atoms may differ in oxidation state."""

    states: frozenset[int]
    electronegativity: float | None
    mixed_valence: bool


def smact_tests(amounts: tuple[tuple[str, int], ...]) -> SmactTests:
    """Test one formula unit.

    amounts: (element, atoms), without a common factor. `electronegativity_balanced` asks for one choice of states that is
    neutral and has every cation less electronegative than every anion: it is never True without `charge_neutral`.
    """
    if len(amounts) == 1:
        return SmactTests(None, None)
    ions = [(_ion(symbol), amount) for symbol, amount in amounts]
    if any(not ion.states for ion, _ in ions):
        return SmactTests(None, None)
    neutral = 0 in _charges([(ion.states, amount, ion.mixed_valence) for ion, amount in ions])
    if any(ion.electronegativity is None for ion, _ in ions):
        return SmactTests(neutral, None)
    return SmactTests(neutral, neutral and _pauling(ions))


def _pauling(ions: list[tuple[_Ion, int]]) -> bool:
    """Try every electronegativity as the border: elements up to it are cations, those above it anions."""
    for border in sorted({ion.electronegativity or 0.0 for ion, _ in ions}):
        sided = []
        for ion, amount in ions:
            cation = (ion.electronegativity or 0.0) <= border
            states = frozenset(q for q in ion.states if (q > 0) == cation)
            sided.append((states, amount, ion.mixed_valence))
        if 0 in _charges(sided):
            return True
    return False


def _charges(parts: list[tuple[frozenset[int], int, bool]]) -> set[int]:
    """All total charges that (states, atoms, mixed valence) can add up to."""
    totals = {0}
    for states, amount, mixed in parts:
        own = _mixed_charges(states, amount) if mixed else frozenset(q * amount for q in states)
        totals = {total + charge for total in totals for charge in own}
    return totals


@lru_cache(maxsize=4096)
def _mixed_charges(states: frozenset[int], amount: int) -> frozenset[int]:
    totals = {0}
    for _ in range(amount):
        totals = {total + q for total in totals for q in states}
    return frozenset(totals)


@cache
def _ion(symbol: str) -> _Ion:
    from smact import Element
    from smact.screening import MIXED_VALENCE_ELEMENTS

    return _Ion(
        states=frozenset(_oxidation_states().get(symbol, ())),
        electronegativity=Element(symbol).pauling_eneg or None,
        mixed_valence=symbol in MIXED_VALENCE_ELEMENTS,
    )


@cache
def _oxidation_states() -> dict[str, tuple[int, ...]]:
    """Oxidation states of each element that smact's own screening uses by default."""
    from smact.screening import ICSD24FilterConfig
    from smact.utils.oxidation import ICSD24OxStatesFilter

    config = ICSD24FilterConfig()
    table = ICSD24OxStatesFilter().filter(
        consensus=config.consensus, include_zero=config.include_zero, commonality=config.commonality
    )
    return {
        str(symbol): tuple(int(q) for q in str(states).split())
        for symbol, states in zip(table["element"], table["oxidation_state"])
    }

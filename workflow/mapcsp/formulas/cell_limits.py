"""Which numbers of formula units a row may try, by the limit on atoms and by its space group; and the least cell if none."""

from __future__ import annotations

from math import gcd

from mapcsp.composition import Amounts
from mapcsp.crystals import space_group_symbol
from mapcsp.formulas.wording import RowError
from mapcsp.symmetry.cell_sizes import z_probabilities
from mapcsp.symmetry.feasible import LARGEST_Z, can_hold, least_z

# intake.max_atoms cannot be raised beyond this: the networks know no larger cells.
MAX_ATOMS = 24


def allowed_z(
    formula: str, amounts: Amounts, z: int | None, space_group: int | None, limit: int
) -> tuple[int, ...]:
    """The z to choose from, ascending: the given one, or all within the limit, of those that the space group can hold.

    Raises RowError if there is none, with the least cell that would do and what to raise, where that helps.
    """
    content = tuple(sorted(n for _, n in amounts))
    unit = sum(content)

    def fits(number: int) -> bool:
        return space_group is None or can_hold(space_group, tuple(number * n for n in content))

    if z is not None and fits(z):
        if z * unit > limit:
            cell = f"{z * unit} atoms in the primitive cell{of_conventional(z, space_group, content)}"
            raise RowError(f"{_units(z, formula)} {cell}; {_raise_to(z * unit, limit)}delete the row")
        return (z,)
    found = tuple(n for n in range(1, limit // unit + 1) if fits(n))
    if z is None and found:
        return found
    if space_group is not None:
        raise RowError(_of_space_group(formula, content, z, space_group, limit, found))
    likeliest = _likeliest_z(content)
    if likeliest == 1:
        least = f"{_units(1, formula)} {unit} atoms, the least that its primitive cell can hold"
        raise RowError(f"{least}; {_raise_to(unit, limit)}delete the row")
    mostly = f"mostly has z = {likeliest} ({likeliest * unit} atoms in the primitive cell)"
    known = f"{_units(1, formula)} {unit} atoms, but a crystal of this stoichiometry {mostly}"
    raise RowError(f"{known}; {_raise_to(likeliest * unit, limit)}delete the row")


def _likeliest_z(content: tuple[int, ...]) -> int:
    """The usual z of a formula unit that may hold several reduced ones, such as Na2O2."""
    units = gcd(*content)
    of_whole_units = z_probabilities(tuple(n // units for n in content))[units::units]
    return int(of_whole_units.argmax()) + 1


def _of_space_group(
    formula: str,
    content: tuple[int, ...],
    z: int | None,
    space_group: int,
    limit: int,
    found: tuple[int, ...],
) -> str:
    """Why the space group cannot hold the given z, or any within the limit, and what it could hold."""
    least, unit = least_z(space_group, content), sum(content)
    refused = f"space group {space_group} cannot hold {formula}"
    if least is None:
        return (
            f"{refused} with any z up to {LARGEST_Z} (no Wyckoff positions add up to it); correct space_group"
        )
    cell = f"z = {least} ({least * unit} atoms in the primitive cell)"
    if z is None:
        holds = f"space group {space_group} holds {formula} with {cell} at least"
        return f"{holds}; {_raise_to(least * unit, limit)}correct space_group"
    refused += f" with z = {z} (no Wyckoff positions add up to it{of_conventional(z, space_group, content)})"
    if found:
        return f"{refused}; it could with z = {', '.join(map(str, found))}; correct space_group or z"
    advice = _raise_to(least * unit, limit).replace(", or ", f" and z to {least}, or ")
    return f"{refused}; the least that it could is {cell}; {advice}correct space_group or z"


def of_conventional(z: int, space_group: int | None, content: tuple[int, ...]) -> str:
    """The z in the primitive cell, if the one given may be that of the conventional cell of a centred group; else empty."""
    if space_group is None:
        return ""
    cells = {"F": 4, "R": 3, "I": 2, "A": 2, "C": 2}.get(space_group_symbol(space_group)[0], 1)
    if cells == 1 or z % cells or not can_hold(space_group, tuple(sorted(z // cells * n for n in content))):
        return ""
    return f"; z = {z} in the conventional cell is z = {z // cells} in the primitive one, which counts here"


def _units(z: int, formula: str) -> str:
    return f"one formula unit of {formula} is" if z == 1 else f"{z} formula units of {formula} are"


def _raise_to(count: int, limit: int) -> str:
    """The limit, and whether it can be raised to a cell of so many atoms."""
    if count <= limit:
        return ""
    now = f"intake.max_atoms is {limit}"
    return (
        f"{now}; raise it to {count}, or " if count <= MAX_ATOMS else f"{now}, and {MAX_ATOMS} is the most; "
    )

"""Finds out which column of a list is which, by the names that people and databases give them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from mapcsp.errors import UserError
from mapcsp.formulas.wording import shown

COLUMNS = ("formula", "id", "z", "space_group", "content")

# Names of each column, the preferred ones first; capitals, blanks, dots and dashes do not count. A Z of the conventional
# cell, as CIF has it, is none of them.
FORMULA_NAMES = """
reduced_formula formula_reduced formula_pretty pretty_formula chemical_formula_reduced chemical_formula_pretty
composition_reduced reduced_composition formula formulas formulae chemical_formula formula_sum chemical_formula_sum
chemical_formula_descriptive chemical_formula_structural structural_formula molecular_formula empirical_formula chem_formula
composition compositions chemical_composition comp compound compounds chemical_compound stoichiometry material materials
"""
CONTENT_NAMES = """
full_formula unit_cell_formula cell_formula formula_full formula_unit_cell cell_content unit_cell_content
"""
ID_NAMES = """
id ids identifier material_id materials_id mp_id mpid materials_project_id entry_id structure_id compound_id formula_id
task_id oqmd_id icsd_id icsd icsd_number cod_id cod jarvis_id jid aflow_id uid uuid label
"""
Z_NAMES = "z formula_units number_of_formula_units n_formula_units num_formula_units nfu"
SPACE_GROUP_NAMES = """
space_group space_group_number spacegroup_number sg sg_number sgnum sgn spg spg_number spgnum spacegroup_num
international_number symmetry_number space_group_it_number symmetry_int_tables_number spacegroup space_group_symbol
spacegroup_symbol sg_symbol spg_symbol symmetry_symbol hm_symbol space_group_name_h_m_alt
symmetry_space_group_name_h_m international_symbol space_group_name spacegroup_name symmetry
"""
NAMES = {
    "formula": FORMULA_NAMES.split() + CONTENT_NAMES.split(),
    "id": ID_NAMES.split(),
    "z": Z_NAMES.split(),
    "space_group": SPACE_GROUP_NAMES.split(),
    "content": ["content", "is_content", "read_as"],
}
# Such a column beside one of formulas may say whether they are contents.
EITHER = {"cellcontent", "unitcellcontent"}
_ROLE = {name.replace("_", ""): role for role, names in NAMES.items() for name in names}
_PLACE = {name.replace("_", ""): place for names in NAMES.values() for place, name in enumerate(names)}


@dataclass(frozen=True)
class Header:
    """What the columns of a list are.

    places: column number of each of COLUMNS that the list has. names: of all columns, as in the list. not_read: names of
    columns that are passed over. cell_contents: whether the formulas are the contents of cells by the name of their column.
    """

    places: dict[str, int]
    names: tuple[str, ...]
    not_read: tuple[str, ...]
    cell_contents: bool


def read_header(path: object, cells: Sequence[str]) -> Header | None:
    """Header that a row of cells is; None if it names no column of formulas.

    Where several columns could be the formula, the id or the space group, the first of NAMES is taken. Raises UserError,
    naming `path`, if two columns could be z or the content, or one name stands twice.
    """
    found: dict[str, list[int]] = {role: [] for role in COLUMNS}
    for place, cell in enumerate(cells):
        if role := role_of(cell):
            found[role].append(place)
    if not found["formula"]:
        return None
    chosen: dict[str, int] = {}
    for role, places in found.items():
        places.sort(key=lambda place: _PLACE[_key(cells[place])])
        if (
            (role in ("z", "content") or {_key(cells[p]) for p in places} & EITHER)
            and len(places) > 1
            or len({_key(cells[p]) for p in places}) < len(places)
        ):
            what = "formulas" if role == "formula" else f"`{role}`"
            raise UserError(
                f"{path}: the header names several columns for {what}, {_listed([cells[p] for p in sorted(places)])}; "
                "expected one; rename or delete the others"
            )
        if places:
            chosen[role] = places[0]
    not_read = tuple(cell for place, cell in enumerate(cells) if cell and place not in chosen.values())
    formula = _key(cells[chosen["formula"]])
    return Header(chosen, tuple(cells), not_read, formula in CONTENT_NAMES.replace("_", "").split())


def without_formula(path: object, cells: Sequence[str]) -> UserError:
    """The error of a header that names no column of formulas."""
    near = [
        cell
        for cell in cells
        if get_close_matches(_key(cell), ["formula", "chemicalformula", "composition"], cutoff=0.75)
    ]
    meant = f"; did you mean {_listed(near)}?" if near else ""
    return UserError(
        f"{path}: the header has no column `formula` (its columns are {_listed([c for c in cells if c])}){meant}; "
        "name that column `formula`"
    )


def columns_note(header: Header) -> str:
    """A sentence on the columns that are passed over; empty if there are none."""
    if not header.not_read:
        return ""
    read = ", ".join(f"{header.names[place]} as {role}" for role, place in header.places.items())
    meant = [
        f"{shown(name)} (did you mean {match[0]}?)"
        for name in header.not_read
        if (match := get_close_matches(_key(name), ["spacegroup", "content"], n=1, cutoff=0.8))
    ]
    doubt = f"; {', '.join(meant)}" if meant else ""
    return f"columns not read: {_listed(header.not_read)}{doubt}; read: {read}"


def role_of(name: str) -> str | None:
    """Which of COLUMNS a column is by its name; a unit or remark in brackets does not count."""
    return _ROLE.get(_key(name))


def _key(name: str) -> str:
    return re.sub(r"\([^)]*\)|\[[^\]]*\]|[^a-z0-9]", "", name.lower())


def _listed(names: Sequence[str], most: int = 6) -> str:
    listed = ", ".join(shown(name, 30) for name in names[:most])
    return listed if len(names) <= most else f"{listed} and {len(names) - most} more"

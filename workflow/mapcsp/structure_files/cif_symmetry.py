"""The symmetry that a CIF states: listed operations, a named setting, or the settings that a short name leaves open.

The names are those of the tables of Gemmi (Wojdyr, J. Open Source Softw. 7, 4200, 2022): 564 settings, those of the
International Tables and more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mapcsp.structure_files.cif_block import CifBlock
from mapcsp.structure_files.record import UnreadableError

if TYPE_CHECKING:
    import gemmi

OPERATIONS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz")
MAGNETIC_OPERATIONS = "_space_group_symop_magn_operation_xyz"
MAGNETIC_CENTRINGS = "_space_group_symop_magn_centering_xyz"
HALL = ("_space_group_name_hall", "_symmetry_space_group_name_hall")
NAMES = (
    "_space_group_name_h-m_alt",
    "_symmetry_space_group_name_h-m",
    "_space_group_name_h-m_full",
    "_space_group_name_h-m_ref",
    # No names of the dictionary, but of programs.
    "_space_group_name_h-m",
    "_symmetry_space_group_name_h-m_alt",
)
NUMBERS = ("_space_group_it_number", "_symmetry_int_tables_number")
# What says nothing, or says that there is no more than the lattice; any other item of the symmetry that is not understood
# tells that there is one.
NO_SYMMETRY = ("", "triclinic", "p 1", "p1", "1", "x,y,z", "x1,x2,x3")
SYSTEM_CODE = "_space_group_it_coordinate_system_code"
# A cell that an operation changes by more than this share of its edges has not that symmetry: a hexagonal cell is not
# rhombohedral. Measured cells keep their symmetry by constraint, so that a smaller departure is a mistake or a choice.
METRIC_TOLERANCE, EXACT_METRIC = 0.02, 0.002
# Endings by which databases name a setting: rhombohedral and hexagonal axes, first and second origin.
ENDINGS = {
    "1": "1",
    "2": "2",
    "S": "1",
    "Z": "2",
    "O1": "1",
    "O2": "2",
    "H": "H",
    "R": "R",
    "RS": "R",
    # Rhombohedral, in either axes: the cell tells which.
    "HR": "",
}


@dataclass(frozen=True, eq=False)
class Setting:
    """One reading of the stated symmetry. rotations: (m, 3, 3), translations: (m, 3), centrings among them, for column
    vectors of fractional coordinates; cautions: what to say if this reading is taken."""

    name: str
    rotations: np.ndarray
    translations: np.ndarray
    cautions: tuple[str, ...] = ()


def possible_settings(block: CifBlock, lattice_ang: np.ndarray, cautions: list[str]) -> list[Setting]:
    """Every reading of the stated symmetry that the cell has; raises UnreadableError if there is none.

    A block without any symmetry lists all atoms of its cell, which is said in `cautions`.
    """
    number = block.number_or_none(next((n for n in NUMBERS if block.text(n)), NUMBERS[0]))
    names = [name for n in NAMES if (name := block.text(n))]
    listed = _listed(block, cautions)
    named, fault = _named(names, block.text(*HALL), number, block.text(SYSTEM_CODE))
    if fault and listed is None:
        raise UnreadableError(f"{fault}; list the operations")
    if fault:
        cautions.append(f"{fault}; the listed operations are used")
    if listed is None and not named:
        items = (
            n for n in block.columns if n.startswith(("_space_group", "_symmetry")) and not n.endswith("_id")
        )
        stated = next((n for n in items if block.text(n).lower() not in NO_SYMMETRY), "")
        if stated:
            raise UnreadableError(
                f"its symmetry is stated only as {block.text(stated)!r} ({stated}); name the space group or list its "
                "operations"
            )
        cautions.append("no symmetry is stated: the listed atoms are taken as all atoms of the cell (P 1)")
        return [_setting("P 1", ["x,y,z"])]
    # A name without a setting is no contradiction to the operations of one.
    settings = named if listed is None else _reconciled(listed, named, cautions)
    fits = [s for s in settings if _metric_change(s, lattice_ang) < METRIC_TOLERANCE]
    if not fits:
        raise UnreadableError(f"the cell has not the symmetry of {settings[0].name}")
    change = min(_metric_change(s, lattice_ang) for s in fits)
    if change > EXACT_METRIC:
        cautions.append(f"the cell departs from the symmetry of {fits[0].name} by {change:.1%}")
    return fits


def _listed(block: CifBlock, cautions: list[str]) -> Setting | None:
    """The operations in the block's list; raises UnreadableError if they are no group."""
    texts = next((t for name in OPERATIONS if (t := _values(block, name))), [])
    centrings = ["x,y,z"]
    if not texts and (magnetic := _values(block, MAGNETIC_OPERATIONS)):
        cautions.append("magnetic moments are not read")
        texts, centrings = magnetic, _values(block, MAGNETIC_CENTRINGS) or centrings
    if not texts:
        return None
    setting = _setting("the listed operations", texts, centrings)
    if (missing := _missing_product(setting)) is not None:
        raise UnreadableError(f"the listed operations are no group: {missing}")
    return setting


def _values(block: CifBlock, name: str) -> list[str]:
    return [v for v in block.columns.get(name, []) if v.strip() not in ("", "?", ".")]


def _setting(
    name: str, texts: list[str], centrings: list[str] | None = None, cautions: tuple[str, ...] = ()
) -> Setting:
    import gemmi

    operations = [_operation(text) for text in texts]
    shifts = [_operation(text) for text in centrings or ["x,y,z"]]
    return _from_gemmi(name, [(o * c).wrap() for c in shifts for o in operations] or [gemmi.Op()], cautions)


def _operation(text: str) -> gemmi.Op:
    import gemmi

    # Magnetic files add the reversal of time, which moves no atom.
    plain = re.sub(r",\s*[+-]1\s*$", "", text.strip())
    decimals = [float(d) * 24 for d in re.findall(r"\d*\.\d+", plain)]
    try:
        if any(abs(d - round(d)) > 0.05 for d in decimals):
            raise RuntimeError("a translation is no multiple of 1/24")
        return gemmi.Op(plain)
    except RuntimeError as error:
        raise UnreadableError(f"the operation {text!r} cannot be read ({error})") from None


def _from_gemmi(name: str, operations: list[gemmi.Op], cautions: tuple[str, ...] = ()) -> Setting:
    rotations = np.array([o.rot for o in operations]) / 24
    translations = np.array([o.tran for o in operations]) / 24
    unique = np.unique(_codes(rotations, translations), return_index=True)[1]
    unique.sort()
    return Setting(name, rotations[unique], translations[unique], cautions)


def _codes(rotations: np.ndarray, translations: np.ndarray) -> np.ndarray:
    """A whole number for each operation, equal for those that differ by lattice vectors."""
    turns = np.rint(rotations).astype(np.int64).reshape(*rotations.shape[:-2], 9) + 1
    shifts = np.rint(translations * 24).astype(np.int64) % 24
    return turns @ 3 ** np.arange(9) * 24**3 + shifts @ 24 ** np.arange(3)


def _missing_product(setting: Setting) -> str | None:
    """What operations lack to be a group, None if nothing."""
    codes = _codes(setting.rotations, setting.translations)
    if not np.isin(_codes(np.eye(3)[None], np.zeros((1, 3))), codes).all():
        return "the identity is not among them"
    rotations = np.einsum("aij,bjk->abik", setting.rotations, setting.rotations)
    translations = (
        np.einsum("aij,bj->abi", setting.rotations, setting.translations) + setting.translations[:, None]
    )
    missing = np.argwhere(~np.isin(_codes(rotations, translations), codes))
    if not len(missing):
        return None
    first, second = missing[0] + 1
    return f"the product of the operations {first} and {second} is not among them"


def _named(names: list[str], hall: str, number: float | None, code: str) -> tuple[list[Setting], str]:
    """The settings that names and number leave open, and a fault: an unknown name, or two that contradict each other."""
    import gemmi

    choices: list[gemmi.SpaceGroup] = []
    name = names[0] if names else ""
    for other in names:
        found = _by_name(other)
        if choices and found and not {s.number for s in choices} & {s.number for s in found}:
            return [], f"the file names the space groups {name!r} and {other!r}"
        # The fullest name leaves the fewest settings open.
        choices = found if found and (not choices or len(found) < len(choices)) else choices
    if names and not choices and not hall:
        return [], f"the space group {name!r} is not in the tables"
    if number is not None:
        of_number = [s for s in gemmi.spacegroup_table() if s.number == number]
        if not of_number:
            return [], f"there is no space group {number:g}"
        if choices and all(s.number != number for s in choices):
            return [], f"the file names the space group {name!r} and the number {number:g}, which is another"
        choices = choices or _no_larger(of_number)
    if hall:
        try:
            operations = list(gemmi.symops_from_hall(hall))
        except (RuntimeError, ValueError):
            operations = []
        if not operations and not choices:
            return [], f"the Hall symbol {hall!r} cannot be read"
        if operations:
            setting = _from_gemmi(f"Hall {hall}", operations)
            # A Hall symbol names one setting exactly.
            entry = gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(hall))
            if choices and entry is not None and all(s.number != entry.number for s in choices):
                return (
                    [],
                    f"the file names the space group {name or number!r} and the Hall symbol {hall!r}, which is another",
                )
            return [setting], ""
    if code and choices:
        choices = [s for s in choices if code.lower() in (s.ext.lower(), s.qualifier.lower())] or choices
    return [_of_table(s) for s in choices], ""


def _no_larger(settings: list[gemmi.SpaceGroup]) -> list[gemmi.SpaceGroup]:
    """Settings of one group without those in a multiple of its standard cell, such as C 1, which no number alone means."""
    sizes = [len(list(s.operations())) for s in settings]
    standard = max(n for s, n in zip(settings, sizes) if s.is_reference_setting())
    return [s for s, n in zip(settings, sizes) if n <= standard]


def _of_table(group: gemmi.SpaceGroup) -> Setting:
    return _from_gemmi(group.xhm(), list(group.operations()))


def _by_name(name: str) -> list[gemmi.SpaceGroup]:
    """The settings of the tables that a Hermann-Mauguin name can mean, in any of its spellings."""
    import gemmi

    base, ending = _split_name(name)
    # Old databases put the bar behind its number: `FD3-M`.
    spellings = (
        base,
        re.sub(r"(\d)-(?=[a-z]|$)", r"-\1", base.replace(" ", ""), flags=re.IGNORECASE),
        _of_full(base),
    )
    found = next((s for b in spellings if (s := gemmi.find_spacegroup_by_name(b)) is not None), None)
    table = list(gemmi.spacegroup_table())
    choices = [s for s in table if found is not None and s.number == found.number and s.hm == found.hm]
    if (short := _short(base)) == base.replace(" ", "").lower():
        # A short monoclinic name leaves the unique axis open, which the cell tells.
        monoclinic = [s for s in table if s.crystal_system_str() == "monoclinic"]
        choices = [s for s in monoclinic if _short(s.hm) == short] or choices
    if ending:
        choices = [s for s in choices if s.ext == ending]
    return choices


def _of_full(name: str) -> str:
    """The short symbol of a full one: `F 41/d -3 2/m` is F d -3 m, `P 42/m 21/n 2/m` is P 42/m n m."""
    parts = name.split()
    # Only the main axis of tetragonal and hexagonal groups keeps its rotation.
    kept = 2 if len(parts) > 1 and parts[1][0] in "46" and "-3" not in parts else 1
    return " ".join([*parts[:kept], *(re.sub("^[2346][1-5]?/", "", part) for part in parts[kept:])])


def _split_name(name: str) -> tuple[str, str]:
    """A name without its ending for a setting, and this ending as in the tables; empty if there is none."""
    text = re.sub(r"\s+", " ", re.sub(r"[_'~]", "", name).strip())
    # SHELX writes screw axes as `P2(1)/c`.
    text = re.sub(r"([2346])\(([1-5])\)", r"\1\2", text)
    if found := re.fullmatch(r"(.+?)\s*:\s*([12HR]|HR)", text, re.IGNORECASE):
        return found[1], ENDINGS[found[2].upper()]
    if found := re.fullmatch(r"(.+?)\s*\(?origin\s*(?:choice\s*)?([12])\)?", text, re.IGNORECASE):
        return found[1], found[2]
    # No symbol ends in one of these capitals.
    if found := re.fullmatch(r"([A-Z].+?)\s*(HR|RS|O1|O2|S|Z|H|R)", text):
        return found[1], ENDINGS[found[2]]
    return text, ""


def _short(name: str) -> str:
    """A monoclinic name without the axes that have no symmetry."""
    parts = [p for p in name.split() if p != "1"]
    return "".join(parts).lower()


def _reconciled(listed: Setting, named: list[Setting], cautions: list[str]) -> list[Setting]:
    """The listed operations if the names agree with them; else both, for the rest of the file to decide."""
    if not named:
        return [listed]
    codes = set(_codes(listed.rotations, listed.translations).tolist())
    if any(codes == set(_codes(s.rotations, s.translations).tolist()) for s in named):
        return [listed]
    found = _table_entry(listed)
    numbers = {entry.number for s in named if (entry := _table_entry(s)) is not None}
    if found is None:
        # A setting outside the tables; it can be the named group only if it has as many rotations.
        if _point_group_order(listed) in {_point_group_order(s) for s in named}:
            return [listed]
        what = f"the {len(listed.rotations)} listed operations contradict"
    elif found.number in numbers:
        cautions.append(f"the listed operations are those of {found.xhm()}, the file names {named[0].name}")
        return [listed]
    else:
        what = f"the listed operations, of {found.xhm()}, contradict"
    return [
        replace(s, cautions=(f"{what} the named space group {named[0].name}; {s.name} is taken",))
        for s in (listed, *named)
    ]


def _table_entry(setting: Setting) -> gemmi.SpaceGroup | None:
    import gemmi

    operations = []
    for rotation, translation in zip(setting.rotations, setting.translations):
        operation = gemmi.Op()
        operation.rot = np.rint(rotation * 24).astype(int).tolist()
        operation.tran = np.rint(translation * 24).astype(int).tolist()
        operations.append(operation)
    return gemmi.find_spacegroup_by_ops(gemmi.GroupOps(operations))


def _point_group_order(setting: Setting) -> int:
    return len(np.unique(np.rint(setting.rotations).reshape(-1, 9), axis=0))


def _metric_change(setting: Setting, lattice_ang: np.ndarray) -> float:
    """The largest change of a metric tensor's entry by an operation, as a share of the edges' product."""
    metric = lattice_ang @ lattice_ang.T
    edges = np.sqrt(np.diag(metric))
    turned = np.einsum("aji,jk,akl->ail", setting.rotations, metric, setting.rotations)
    return float((np.abs(turned - metric) / np.outer(edges, edges)).max())

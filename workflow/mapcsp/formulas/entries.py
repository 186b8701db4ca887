"""Turns rows into entries: decides z, checks the space group, gives ids, and rejects contradictions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import gcd

from mapcsp.composition import (
    Amounts,
    canonical_formula,
    formula_amounts,
    formula_text,
    order_amounts,
    units_of,
)
from mapcsp.formulas.cell_limits import allowed_z
from mapcsp.formulas.chemistry import smact_tests
from mapcsp.formulas.parse import parse_formula
from mapcsp.formulas.readings import is_content
from mapcsp.formulas.rows import Row
from mapcsp.formulas.wording import RowError, printable, shown
from mapcsp.records import FormulaEntry
from mapcsp.settings import IntakeSettings
from mapcsp.symmetry.symbols import no_space_group, read_space_group

ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
# Spreadsheets and pandas write a column of whole numbers with gaps as 2.0, or 2,0.
WHOLE_NUMBER = re.compile(r"([0-9]{1,9})([.,]0{1,6})?")
# What the column `content` may say; spreadsheets write it in the language of their user.
YES = frozenset(
    ("true", "t", "yes", "y", "1", "1.0", "content", "cell", "wahr", "ja", "vrai", "oui", "verdadero", "vero")
)
NO = frozenset(("false", "f", "no", "n", "0", "0.0", "formula", "falsch", "nein", "faux", "non", "falso"))


@dataclass(frozen=True)
class _Formula:
    """A formula as it is read. written: in the order of its author, the unit that z counts; amounts: the same, ordered.

    z: fixed by a content; units: reduced formula units in one unit.
    """

    written: str
    amounts: Amounts
    read_as: str
    z: int | None
    units: int


@dataclass(frozen=True)
class Request:
    """What a row asks for, however its formula is written: units are reduced ones, in the cell or, z open, in one unit."""

    formula: str
    units: int
    z_given: bool
    space_group: int | None


def request_of(entry: FormulaEntry) -> Request:
    """What an accepted row asks for."""
    z = entry.z_allowed[0] if entry.z_given else 1
    return Request(
        canonical_formula(entry.formula), units_of(entry.formula) * z, entry.z_given, entry.space_group
    )


class EntryBuilder:
    """Builds the entries of one list, and remembers them to find duplicates."""

    def __init__(self, settings: IntakeSettings) -> None:
        """settings: the section `intake`."""
        self._settings = settings
        self._line_of_request: dict[Request, int] = {}
        self._line_of_id: dict[str, int] = {}

    def build(self, row: Row) -> FormulaEntry:
        """Check one row; raises RowError with the reason if it cannot be used."""
        read = _read_formula(row)
        formula, amounts = read.written, read.amounts
        z = _given_z(row, read)
        space_group = _space_group(row.space_group)
        # Two texts of one compound ask for the same: Na2O2 with z = 3, NaO with z = 6, and O2Na2.
        request = Request(canonical_formula(formula), read.units * (z or 1), z is not None, space_group)
        if request in self._line_of_request:
            raise RowError(
                f"{shown(row.formula)} asks for the same as line {self._line_of_request[request]} "
                "(formula, z and space group are equal); delete one of them"
            )
        z_allowed = allowed_z(formula, amounts, z, space_group, self._settings.max_atoms)
        tests = smact_tests(tuple((symbol, n // read.units) for symbol, n in amounts))
        if self._settings.smact_filter:
            _require(formula, tests.charge_neutral, "charge-neutrality")
            _require(formula, tests.electronegativity_balanced, "electronegativity")
        identifier = self._identifier(row, formula, z, space_group)
        self._line_of_request[request] = row.line
        self._line_of_id[identifier.lower()] = row.line
        return FormulaEntry(
            id=identifier,
            formula=formula,
            as_given=row.formula,
            line=row.line,
            amounts=amounts,
            z_allowed=z_allowed,
            z_given=z is not None,
            read_as=read.read_as,
            space_group=space_group,
            charge_neutral=tests.charge_neutral,
            electronegativity_balanced=tests.electronegativity_balanced,
            max_atoms=self._settings.max_atoms,
        )

    def _identifier(self, row: Row, formula: str, z: int | None, space_group: int | None) -> str:
        """The user's id, or one made of formula, z and space group; ids differ even if case is ignored."""
        if row.id:
            if not ID.fullmatch(row.id):
                raise RowError(
                    f"the id {shown(row.id)} cannot name a file, expected at most 100 letters A-Z, digits, "
                    "'_', '-' and '.', beginning with a letter, digit or '_'; change it or leave it empty"
                )
            self._require_unused(row.id)
            return row.id
        suffix = ("" if z is None else f"_z{z}") + ("" if space_group is None else f"_sg{space_group}")
        identifier = formula + suffix
        if identifier.lower() in self._line_of_id:
            # Cobalt and carbon monoxide: with every amount written out, Co1 and C1O1 differ in any case.
            identifier = "".join(f"{symbol}{n}" for symbol, n in formula_amounts(formula).items()) + suffix
            self._require_unused(identifier)
        return identifier

    def _require_unused(self, identifier: str) -> None:
        line = self._line_of_id.get(identifier.lower())
        if line is not None:
            raise RowError(
                f"the id {shown(identifier)} is that of line {line} (capitals do not count); "
                "give one of them another id"
            )


def _read_formula(row: Row) -> _Formula:
    """Read the formula as a formula or as the content of a cell, as the column `content` says or as it is usual."""
    given = parse_formula(row.formula)
    factor = gcd(*given.values())
    says = row.content.lower()
    if says and says not in YES | NO:
        raise RowError(f"content is {shown(row.content)}, expected true, false or nothing; fix it")
    content = says in YES if says else is_content(given)
    if content:
        given = {symbol: n // factor for symbol, n in given.items()}
    return _Formula(
        written=formula_text(tuple(given.items())),
        amounts=order_amounts(given),
        read_as="content" if content else "formula",
        z=factor if content else None,
        units=1 if content else factor,
    )


def _given_z(row: Row, read: _Formula) -> int | None:
    """z from the column or, where the formula is the content of a cell, from its common factor."""
    if not row.z:
        return read.z
    z = _whole_number(row.z)
    if z is None or z < 1:
        raise RowError(
            f"z is {shown(row.z)}, expected a whole number of formula units from 1 or nothing; fix it"
        )
    if read.z not in (None, z):
        units = f"{read.z} formula unit{'s'[: read.z != 1]}"
        raise RowError(
            f"{shown(row.formula)} is {units} of {read.written}, but the column z says {z}; "
            "make them agree or empty one of them"
        )
    return z


def _whole_number(text: str) -> int | None:
    match = WHOLE_NUMBER.fullmatch(text)
    return int(match[1]) if match else None


def _space_group(text: str) -> int | None:
    if not text:
        return None
    # Spreadsheets write whole numbers in a column with gaps as 225.0.
    number = read_space_group(str(_whole_number(text) or text))
    if number is None:
        raise RowError(f"{no_space_group(printable(text, 60))}; fix it or leave it empty")
    return number


def _require(formula: str, passed: bool | None, test: str) -> None:
    # None means that smact cannot tell, which is no reason to drop a row.
    if passed is False:
        raise RowError(
            f"{formula} fails smact's {test} test and intake.smact_filter is on; "
            "switch it off or delete the row"
        )

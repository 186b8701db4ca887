"""Turns rows into entries: decides z, checks the space group, gives ids, and rejects contradictions."""

from __future__ import annotations

import re
from math import gcd

from mapcsp.elements import standard_order
from mapcsp.formulas.cell_limits import allowed_z
from mapcsp.formulas.chemistry import smact_tests
from mapcsp.formulas.parse import RowError, parse_formula, shown
from mapcsp.formulas.rows import Row
from mapcsp.records import FormulaEntry
from mapcsp.settings import IntakeSettings

ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
# Spreadsheets and pandas write a column of whole numbers with gaps as 2.0.
WHOLE_NUMBER = re.compile(r"([0-9]{1,9})(\.0{1,6})?")

Amounts = tuple[tuple[str, int], ...]


class EntryBuilder:
    """Builds the entries of one list, and remembers them to find duplicates."""

    def __init__(self, settings: IntakeSettings) -> None:
        """settings: the section `intake`."""
        self._settings = settings
        self._line_of_request: dict[tuple[str, int | None, int | None], int] = {}
        self._line_of_id: dict[str, int] = {}

    def build(self, row: Row) -> FormulaEntry:
        """Check one row; raises RowError with the reason if it cannot be used."""
        content = parse_formula(row.formula)
        factor = gcd(*content.values())
        amounts = order_amounts({symbol: n // factor for symbol, n in content.items()})
        formula = formula_text(amounts)
        z = self._given_z(row, formula, factor)
        space_group = _space_group(row.space_group)
        request = (formula, z, space_group)
        if request in self._line_of_request:
            raise RowError(
                f"{shown(row.formula)} asks for the same as line {self._line_of_request[request]} "
                "(formula, z and space group are equal); delete one of them"
            )
        z_allowed = allowed_z(formula, amounts, z, space_group, self._settings.max_atoms)
        tests = smact_tests(amounts)
        if self._settings.smact_filter:
            _require(formula, tests.charge_neutral, "charge-neutrality")
            _require(formula, tests.electronegativity_balanced, "electronegativity")
        identifier = self._identifier(row, amounts, z, space_group)
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
            space_group=space_group,
            charge_neutral=tests.charge_neutral,
            electronegativity_balanced=tests.electronegativity_balanced,
            max_atoms=self._settings.max_atoms,
        )

    def _given_z(self, row: Row, formula: str, factor: int) -> int | None:
        """z from the column or, where the formula is the content of a cell, from its common factor."""
        if not row.z:
            return factor if factor > 1 else None
        z = _whole_number(row.z)
        if z is None or z < 1:
            raise RowError(
                f"z is {shown(row.z)}, expected a whole number of formula units from 1 or nothing; fix it"
            )
        if factor not in (1, z):
            raise RowError(
                f"{shown(row.formula)} is {factor} formula units of {formula}, but the column z says {z}; "
                "make them agree or empty one of them"
            )
        return z

    def _identifier(self, row: Row, amounts: Amounts, z: int | None, space_group: int | None) -> str:
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
        identifier = formula_text(amounts) + suffix
        if identifier.lower() in self._line_of_id:
            # Cobalt and carbon monoxide: with every amount written out, Co1 and C1O1 differ in any case.
            identifier = "".join(f"{symbol}{n}" for symbol, n in amounts) + suffix
            self._require_unused(identifier)
        return identifier

    def _require_unused(self, identifier: str) -> None:
        line = self._line_of_id.get(identifier.lower())
        if line is not None:
            raise RowError(
                f"the id {shown(identifier)} is that of line {line} (capitals do not count); "
                "give one of them another id"
            )


def order_amounts(amounts: dict[str, int]) -> Amounts:
    """Order elements as pymatgen does: by electronegativity, then by symbol."""
    return standard_order(amounts.items())


def formula_text(amounts: Amounts) -> str:
    """A formula without brackets, amounts of 1 left out, such as `CaH2O2`."""
    return "".join(f"{symbol}{n if n > 1 else ''}" for symbol, n in amounts)


def _whole_number(text: str) -> int | None:
    match = WHOLE_NUMBER.fullmatch(text)
    return int(match[1]) if match else None


def _space_group(text: str) -> int | None:
    if not text:
        return None
    number = _whole_number(text)
    if number is None or not 1 <= number <= 230:
        raise RowError(
            f"the space group is {shown(text)}, expected a number from 1 to 230 or nothing; fix it"
        )
    return number


def _require(formula: str, passed: bool | None, test: str) -> None:
    # None means that smact cannot tell, which is no reason to drop a row.
    if passed is False:
        raise RowError(
            f"{formula} fails smact's {test} test and intake.smact_filter is on; "
            "switch it off or delete the row"
        )

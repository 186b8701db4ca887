"""What every verb returns has one thing in common: a table that a notebook shows."""

from __future__ import annotations

from abc import ABC, abstractmethod

import pandas as pd


class Tabled(ABC):
    """A result that prints, and shows in a notebook, as its table."""

    @property
    @abstractmethod
    def table(self) -> pd.DataFrame:
        """The result in rows; units in the names of the columns."""

    def __repr__(self) -> str:
        return self.table.to_string(index=False)

    def _repr_html_(self) -> str:
        # The method that notebooks look for.
        return str(self.table.to_html(index=False))

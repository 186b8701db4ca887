"""The HTML report: what a user opens, sends to colleagues and decides from."""

from mapcsp.report.run import run_report

__all__ = ["run_report"]

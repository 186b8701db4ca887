"""Snakemake's own report of a run: it holds the answer, in categories and with captions."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest

# One worker: the pipeline runs once.
pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]


@pytest.fixture(scope="module")
def report(finished, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    done = finished.snakemake("--report", str(path))
    assert done.returncode == 0, done.stdout
    return Path(path).read_text(encoding="utf-8")


def data(report: str, name: str) -> dict:
    """What the report's scripts read under this name."""
    script = report.split(f'<script id="{name}">', 1)[1]
    return json.JSONDecoder().raw_decode(script.split(f"var {name} = ", 1)[1])[0]


def test_results_are_in_categories(report):
    categories = data(report, "categories")
    assert {name: sorted(files["Other"]) for name, files in categories.items()} == {
        "Ranking": ["results/ranking/ranking.csv", "results/report/index.html"],
        "Left out": ["results/ranking/failed.csv"],
    }


def test_every_result_has_a_label_and_a_caption_without_markup_left(report):
    for result in data(report, "results").values():
        assert result["labels"]["result"]
        text = re.sub(r"<[^>]+>", "", result["caption"])
        assert len(text) > 60 and "``" not in text and "{{" not in text and "System Message" not in text


def test_the_ranking_in_the_report_is_that_of_the_run(report, finished):
    uri = data(report, "results")["results/ranking/ranking.csv"]["data_uri"]
    assert base64.b64decode(uri.partition("base64,")[2]) == finished.table()


def test_the_report_begins_with_what_the_workflow_does(report):
    assert "Crystal structures predicted from chemical formulas" in report

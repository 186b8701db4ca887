"""Fixtures that several test files share."""

import pytest
from pipeline import LIST, Run, copy_repository


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Run:
    """The pipeline on two small formulas, run once, in a folder with spaces in its name."""
    root = tmp_path_factory.mktemp("work flow")
    run = Run(copy_repository(root / "repo"), root / "run folder")
    run.folder.mkdir()
    (run.folder / "my list.csv").write_text(LIST)
    done = run.snakemake()
    assert done.returncode == 0, done.stdout
    return run

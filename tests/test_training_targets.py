"""`make train` trains what it says: every model that ships."""

import re
import subprocess
from pathlib import Path

import pytest
from mapcsp.registry import registered_models
from pipeline import REPOSITORY, SNAKEMAKE

pytestmark = pytest.mark.workflow


def recipe() -> list[str]:
    """Arguments of Snakemake in the Makefile's recipe of `train`."""
    lines = re.search(r"(?m)^train:.*\n((?:\t.*\n)+)", (REPOSITORY / "Makefile").read_text())[1].splitlines()
    (line,) = [line for line in lines if "snakemake" in line]
    return line.split("snakemake", 1)[1].split()


@pytest.fixture
def data(tmp_path) -> Path:
    """Tables that are older than the weights, as those of a fresh clone are."""
    (tmp_path / "data").mkdir()
    for name in ("mp_train", "wbm_train", "mp_val", "more_train"):
        (tmp_path / f"data/{name}.parquet").touch()
    return tmp_path


def written(folder: Path, *arguments: str) -> set[str]:
    """Models whose weights a run would write."""
    snakefile = str(REPOSITORY / "workflow/Snakefile.training")
    options = [snakefile if a == "workflow/Snakefile.training" else a for a in arguments]
    command = [*SNAKEMAKE, *options, "--summary", "--directory", str(folder)]
    done = subprocess.run(
        [*command, "--config", "training={data: data}"], capture_output=True, text=True, check=False
    )
    if "m3gnet.safetensors" in done.stdout + done.stderr and done.returncode:
        pytest.skip("needs the M3GNet weights: mapcsp fetch-potential")
    assert done.returncode == 0, done.stdout + done.stderr
    planned = [line.split("\t") for line in done.stdout.splitlines() if line.endswith("update pending")]
    files = [Path(row[0]) for row in planned]
    return {f.parent.name for f in files if f.name in ("weights.safetensors", "coefficients.json")}


def test_make_train_trains_every_model_that_ships(data):
    assert written(data, *recipe()) == {model.folder.name for model in registered_models().values()}


@pytest.mark.parametrize(
    ("target", "models"),
    [
        ("train_symmetry", {"symmetry"}),
        ("train_maps", {"maps", "alphacrystal", "alphacrystal2", "symmetry"}),
        ("train_mlatticeabc", {"mlatticeabc"}),
    ],
)
def test_one_target_trains_what_the_readme_says(data, target, models):
    assert target in (REPOSITORY / "README.md").read_text()
    arguments = [target if a == "train" else a for a in recipe()]
    assert written(data, *arguments) == models

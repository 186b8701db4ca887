"""Compute nodes and containers: an unprivileged user, no home, and nothing that can be written but the run's folder."""

import csv
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from mapcsp import places
from mapcsp.errors import UserError
from pipeline import REPOSITORY, SHRUNKEN, SNAKEMAKE, copy_repository

NOBODY = "65534"
# The folder stays writable, being a mount of its own. The user may read what root may: an interpreter in root's home.
CONFINED = 'mount --bind "$1" "$1" && mount -o remount,bind,ro / && cd "$1" && shift && exec "$@"'
UNPRIVILEGED = (
    *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    *("--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search"),
)


class Confined:
    """Runs programs as such a user, with the package of a repository."""

    def __init__(self, repository: Path, folder: Path) -> None:
        self.repository, self.folder = repository, folder

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess:
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/nonexistent",
            "PYTHONPATH": str(self.repository / "workflow"),
            **variables,
        }
        confined = [
            "unshare",
            "--mount",
            "sh",
            "-c",
            CONFINED,
            "sh",
            str(self.folder),
            *UNPRIVILEGED,
            *command,
        ]
        return subprocess.run(confined, env=environment, capture_output=True, text=True, check=False)

    def mapcsp(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
        return self.run(sys.executable, "-m", "mapcsp", *arguments, **variables)

    def snakemake(self, *options: str, **variables: str) -> subprocess.CompletedProcess:
        snakefile = ["--snakefile", str(self.repository / "Snakefile")]
        return self.run(*SNAKEMAKE, *snakefile, "--cores", "2", *options, **variables)


@pytest.fixture(scope="module")
def repository():
    # Pytest's own folders are closed to other users, and whether a file is readable is asked without capabilities.
    with tempfile.TemporaryDirectory(prefix="read only ") as folder:
        Path(folder).chmod(0o755)
        yield copy_repository(Path(folder) / "repo")


@pytest.fixture
def confined(repository, tmp_path):
    if os.getuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv", "mount"))):
        pytest.skip("needs root, unshare and setpriv")
    os.chown(tmp_path, int(NOBODY), int(NOBODY))
    user = Confined(repository, tmp_path)
    tried = user.run("sh", "-c", f"touch here && ! touch '{repository}/there'")
    if tried.returncode != 0:
        pytest.skip(f"the kernel does not let a test make the machine read-only: {tried.stderr}")
    (tmp_path / "here").unlink()
    return user


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.workflow
def test_a_run_needs_nothing_but_its_own_folder(confined):
    (confined.folder / "my list.csv").write_text("formula,z\nNaCl,1\n")
    done = confined.snakemake("--config", *SHRUNKEN, "rescore={potential: none}")
    assert done.returncode == 0, done.stdout + done.stderr
    first = rows(confined.folder / "results/ranking/ranking.csv")[0]
    assert (first["formula"], first["space_group"]) == ("NaCl", "225")
    assert "NaCl" in (confined.folder / "results/report/index.html").read_text()
    # What numba compiled for one job is there for the next.
    assert list((confined.folder / ".snakemake/mapcsp").rglob("*.nbi"))


def test_symmetry_and_relaxation_need_nothing_but_a_folder(confined):
    found = confined.mapcsp("symmetry", "NaCl")
    assert found.returncode == 0, found.stderr
    first = next(line.split() for line in found.stdout.splitlines() if line.startswith("NaCl"))
    assert (first[1], first[3:6]) == ("1", ["1", "Fm-3m", "225:Cl-a,Na-b"])
    (confined.folder / "POSCAR").write_text(
        "NaCl\n1\n0 2.7 2.7\n2.7 0 2.7\n2.7 2.7 0\nNa Cl\n1 1\nDirect\n0 0 0\n.5 .5 .5\n"
    )
    relaxed = confined.mapcsp("relax", "POSCAR", "--out", "relaxed")
    assert relaxed.returncode == 0, relaxed.stderr
    assert "converged" in relaxed.stdout
    assert "Fm-3m" in relaxed.stdout or "225" in relaxed.stdout


def test_a_run_in_a_folder_that_cannot_be_written_is_one_line(confined, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("not writable")
    done = confined.snakemake("--directory", str(elsewhere), "--dry-run", TMPDIR=str(confined.folder))
    assert done.returncode == 2
    assert f"mapcsp: error: {elsewhere} cannot be written; choose another folder" in done.stderr
    assert "Traceback" not in done.stderr
    done = confined.mapcsp("predict", "NaCl", "--out", str(elsewhere / "run"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "cannot be written (" in done.stderr


def test_weights_that_are_missing_and_cannot_be_fetched_are_one_line(confined):
    (weights,) = (confined.repository / "resources/potentials").glob("m3gnet.safetensors")
    aside = weights.rename(weights.with_suffix(".aside"))
    try:
        (confined.folder / "my list.csv").write_text("formula\nNaCl\n")
        done = confined.snakemake("--dry-run", "--config", *SHRUNKEN)
        fetched = confined.mapcsp("fetch-potential")
    finally:
        aside.rename(weights)
    line = f"mapcsp: error: {weights} does not exist, and {weights.parent} cannot be written; run `mapcsp fetch-potential`"
    for said in (done, fetched):
        assert said.returncode == 2
        assert line in said.stderr and "Traceback" not in said.stderr


def test_a_full_disk_is_one_line(confined, tmp_path):
    (tmp_path / "list.csv").write_text("formula\nNaCl\n")
    (tmp_path / "settings.json").write_text("{}")
    full = tmp_path / "full"
    full.mkdir()
    command = [sys.executable, "-m", "mapcsp", "stage", "intake", "--formulas", str(tmp_path / "list.csv")]
    command += ["--settings", str(tmp_path / "settings.json"), "--output", str(full / "intake")]
    command += ["--manifest", str(full / "manifest.json")]
    script = 'mount -t tmpfs -o size=4k none "$0" && head -c 4096 /dev/zero > "$0/filler"; exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, str(full), *command],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "workflow")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "cannot be written (No space left on device); make room" in done.stderr


def test_without_any_place_for_compiled_code_the_variable_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv(places.COMPILED, raising=False)
    monkeypatch.setattr(places, "can_write", lambda folder: False)
    monkeypatch.setattr(places.tempfile, "gettempdir", lambda: str(tmp_path / "none"))
    assert not places.name_writable_places()
    assert places.COMPILED not in os.environ
    monkeypatch.setenv(places.COMPILED, str(tmp_path))
    monkeypatch.setenv(places.PLOTTING, str(tmp_path))
    assert places.name_writable_places()


def test_libraries_keep_their_own_places_where_these_can_be_written(monkeypatch, tmp_path):
    for name in (places.COMPILED, places.PLOTTING):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert places.name_writable_places()
    assert places.COMPILED not in os.environ and places.PLOTTING not in os.environ


def test_compiled_code_is_not_kept_where_others_can_write(monkeypatch, tmp_path):
    # Whoever can write it could have his own code run.
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(places.COMPILED, raising=False)
    monkeypatch.setattr(places, "can_write", lambda folder: False)
    monkeypatch.setattr(places.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = tmp_path / f"mapcsp-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    assert not places.name_writable_places()
    folder.chmod(0o700)
    assert places.name_writable_places()
    assert os.environ[places.COMPILED] == str(folder / "numba_cache_dir")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_can_be_made_can_be_written(tmp_path):
    assert places.can_write(tmp_path / "a/b")
    (tmp_path / "file").write_text("")
    assert not places.can_write(tmp_path / "file/b")
    places.check_run_folder(tmp_path)
    places.check_weights_place(tmp_path / "new/weights")
    with pytest.raises(UserError, match="file cannot be written; choose another folder"):
        places.check_run_folder(tmp_path / "file")

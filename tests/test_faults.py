"""What breaks on real machines: afterwards a rerun completes, and its table is that of an undisturbed run, byte for byte.

`finished` is the undisturbed run (two cores); each test works on a copy of it from which the results of some stages
are deleted. Commands break at the worst moment (see `faults/sitecustomize.py`): a file is written, but not in its place.
"""

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from pipeline import LIST, Run, copy_run, edited, wait_for_fault, with_fault

# Beside test_workflow.py, whose pipeline these tests share.
pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]

SEARCHES_ON = ("reconstruct", "finished", "pools", "relax", "ranking", "report")
RELAXATION_ON = ("relax", "finished/relax", "ranking", "report")


def assert_undisturbed(run: Run, finished: Run) -> None:
    """The run is complete, equals the undisturbed one, and holds no half-written file that looks like a result."""
    assert run.table() == finished.table()
    cifs = {p.relative_to(run.folder): p.read_bytes() for p in run.result("ranking").rglob("*.cif")}
    expected = {
        p.relative_to(finished.folder): p.read_bytes() for p in finished.result("ranking").rglob("*.cif")
    }
    assert cifs == expected
    left = run.snakemake("--dry-run")
    assert "Nothing to be done" in left.stdout, left.stdout


def test_every_job_killed_once_on_one_core_gives_the_table_of_two_cores(finished, tmp_path):
    run = Run(finished.repository, tmp_path / "run", cores=1)
    run.folder.mkdir()
    (run.folder / "my list.csv").write_text(LIST)
    killed = tmp_path / "killed"
    done = with_fault(run, "kill:results/", killed).snakemake("--retries", "1")
    assert done.returncode == 0, done.stdout
    searches, chunks = (json.loads(run.result(f"plan/{n}.json").read_text()) for n in ("buckets", "chunks"))
    # Five stages take the whole list before them, and two after them.
    assert len([*killed.iterdir()]) == 5 + len(searches) + 2 * len(chunks) + 2
    assert_undisturbed(run, finished)


def test_a_killed_job_leaves_nothing_half_written_and_the_next_run_goes_on(finished, tmp_path):
    run = copy_run(finished, tmp_path / "run", without=SEARCHES_ON)
    together = ("plan={tasks_per_job: 60}",)
    broken = with_fault(run, "kill:results/reconstruct/", tmp_path / "killed")
    done = broken.snakemake("--retries", "0", config=together)
    assert done.returncode == 1
    assert [*run.result("reconstruct").rglob("group-*.jsonl")] == []
    # The bucket was lost at its last write; its searches are kept.
    searched = {path: path.stat().st_mtime_ns for path in run.result("finished/reconstruct").rglob("*.jsonl")}
    assert len(searched) == len([*finished.result("finished/reconstruct").rglob("*.jsonl")])
    done = run.snakemake(config=together)
    assert done.returncode == 0, done.stdout
    assert {path: path.stat().st_mtime_ns for path in searched} == searched
    assert run.table() == finished.table()


def test_a_killed_snakemake_is_started_again_while_its_job_lives_on(finished, tmp_path):
    run = copy_run(finished, tmp_path / "run", without=RELAXATION_ON)
    stopped = tmp_path / "stopped"
    first = with_fault(run, "stop:results/relax/", stopped).start("--retries", "0")
    orphan = wait_for_fault(stopped, first)
    try:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        again = run.snakemake()
        assert again.returncode == 1 and "--unlock" in again.stdout
        assert run.snakemake("--unlock").returncode == 0
        again = run.snakemake()
        assert again.returncode == 0, again.stdout
    finally:
        for marker in stopped.iterdir():
            os.kill(int(marker.read_text()), signal.SIGCONT)
        first.stdout.close()
    # The orphan's late write replaces a file by the same bytes.
    while Path(f"/proc/{orphan}").exists() and b"mapcsp" in Path(f"/proc/{orphan}/cmdline").read_bytes():
        pass
    assert_undisturbed(run, finished)


def test_a_full_disk_is_told_and_after_making_room_the_run_completes(finished, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48m", "none", str(disk)]
    if os.getuid() != 0 or shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("mounting a small disk needs root with the right to mount")
    try:
        run = copy_run(finished, disk / "run", without=RELAXATION_ON)
        ballast = disk / "ballast"
        fill(ballast, leave=8192)
        done = run.snakemake("--retries", "0")
        assert done.returncode != 0
        assert "No space left on device" in done.stdout
        ballast.unlink()
        # Snakemake itself may have died of the full disk, with its lock in place.
        run.snakemake("--unlock")
        done = run.snakemake()
        assert done.returncode == 0, done.stdout
        assert_undisturbed(run, finished)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(path: Path, leave: int) -> None:
    """Fill the disk of a file up to some bytes."""
    free = shutil.disk_usage(path.parent).free
    with open(path, "wb") as file:
        file.write(b"\0" * (free - leave))


@pytest.mark.parametrize(
    ("pattern", "damage", "without", "advice"),
    [
        (
            "relax/*/*.jsonl",
            lambda whole: whole.replace(b'"volume_change": ', b'"volume_change": 1', 1),
            ("ranking",),
            "is corrupt (its checksum does not fit); delete it and run snakemake again",
        ),
        (
            "maps/*/*.safetensors",
            lambda whole: whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:],
            ("plan", "ranking"),
            "is corrupt (its checksum does not fit); run snakemake again with `--forcerun maps`",
        ),
        (
            "plan/tasks/*/*/*.jsonl",
            lambda whole: whole[: len(whole) // 2],
            (*SEARCHES_ON, "logs"),
            "is truncated (its last line does not count its records); run snakemake again with `--forcerun plan`",
        ),
    ],
    ids=["a digit of a relaxed pool", "a bit of a map", "half of a task"],
)
def test_a_damaged_file_is_named_with_what_rebuilds_it(finished, tmp_path, pattern, damage, without, advice):
    run = copy_run(finished, tmp_path / "run", without=without)
    damaged = min(run.folder.glob(f"results/{pattern}"))
    whole = damaged.read_bytes()
    assert damage(whole) != whole
    damaged.write_bytes(damage(whole))
    done = run.snakemake("--retries", "0")
    assert done.returncode == 1
    assert f"mapcsp: error: {damaged.relative_to(run.folder)} {advice}" in done.stdout, done.stdout
    if "--forcerun" in advice:
        done = run.snakemake("--forcerun", advice.rpartition("--forcerun ")[2].rstrip("`"))
    else:
        damaged.unlink()
        done = run.snakemake()
    assert done.returncode == 0, done.stdout
    assert damaged.read_bytes() == whole
    assert_undisturbed(run, finished)


def test_weights_with_a_wrong_hash_are_refused_and_say_how_to_get_the_right_ones(finished, tmp_path):
    run = copy_run(finished, tmp_path / "run", without=RELAXATION_ON)
    weights = run.repository / "resources/potentials/m3gnet.safetensors"
    with edited(weights, lambda whole: whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]):
        done = run.snakemake("--retries", "0")
        assert done.returncode == 1
        # Weights fetched by this version carry a checksum, which notices first; older ones are told by their content's hash.
        assert re.search(r"m3gnet\.safetensors is (damaged|not the original M3GNet)", done.stdout)
        assert "delete it and run `mapcsp fetch-potential` to rebuild it" in done.stdout
        assert [*run.result("relax").rglob("*.jsonl")] == []
    done = run.snakemake()
    assert done.returncode == 0, done.stdout
    assert_undisturbed(run, finished)


def test_a_list_edited_while_it_is_read_is_read_again_by_the_next_run(finished, tmp_path):
    run = copy_run(finished, tmp_path / "run", without=("report",))
    formulas = run.folder / "my list.csv"
    formulas.write_text("formula,z\nMgO,1\n")
    stopped = tmp_path / "stopped"
    process = with_fault(run, "stop:results/intake/", stopped).start()
    intake = wait_for_fault(stopped, process)
    # The list was read, and nothing of it is written.
    formulas.write_text(LIST)
    os.kill(intake, signal.SIGCONT)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    kept = [line for line in finished.table().splitlines(keepends=True) if not line.startswith(b"NaCl")]
    assert run.table() == b"".join(kept)
    done = run.snakemake()
    assert done.returncode == 0, done.stdout
    assert_undisturbed(run, finished)


def test_of_two_runs_in_one_folder_the_second_is_refused(finished, tmp_path):
    run = copy_run(finished, tmp_path / "run", without=("ranking",))
    stopped = tmp_path / "stopped"
    first = with_fault(run, "stop:results/ranking/", stopped).start()
    rank = wait_for_fault(stopped, first)
    second = run.snakemake()
    os.kill(rank, signal.SIGCONT)
    said, _ = first.communicate()
    assert second.returncode == 1 and "cannot be locked" in second.stdout
    assert first.returncode == 0, said
    assert_undisturbed(run, finished)

"""The reconstruct stage: it finds crystals again, keeps known geometries, repeats itself and resumes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from known_tasks import KNOWN, known_crystal, known_task, with_labels
from mapcsp.crystals import to_structure
from mapcsp.errors import StoreError
from mapcsp.ga import reconstruct, search
from mapcsp.ga.bench import bench_search
from mapcsp.ga.modes import paper_settings
from mapcsp.ga.reconstruct import reconstruct_task, run_reconstruct
from mapcsp.records import ReconstructionTask, TaskResult
from mapcsp.settings import ReconstructSettings, parse_settings
from mapcsp.store import read_records, to_plain, write_json, write_records
from pymatgen.analysis.structure_matcher import StructureMatcher

MATCHER = StructureMatcher(ltol=0.2, stol=0.3, angle_tol=5)
MAX_RMS = 0.02
FAST = ReconstructSettings(max_evaluations=4000)
RUTILE = "rutile TiO2"


def rms_to_truth(name: str, result: TaskResult, index: int = 0) -> float | None:
    found = MATCHER.get_rms_dist(
        to_structure(result.candidates[index].crystal), to_structure(known_crystal(name))
    )
    return None if found is None else float(found[0])


@pytest.mark.parametrize("name", list(KNOWN))
def test_true_maps_give_the_crystal_back(name: str) -> None:
    result = reconstruct_task(known_task(name), ReconstructSettings(max_evaluations=40000))
    assert result.status == "done"
    assert rms_to_truth(name, result) == pytest.approx(0, abs=MAX_RMS)


def test_an_uncertain_cell_is_found_from_the_map() -> None:
    task = known_task(RUTILE, spread=0.08)
    wrong = replace(task.labels[0], cell=task.labels[0].cell * [1.06, 1.06, 0.95, 1, 1, 1])
    result = reconstruct_task(replace(task, labels=(wrong,)), replace_settings(weight_prior=0.01))
    assert result.candidates[0].cell[:3] == pytest.approx(KNOWN[RUTILE][1][:3], rel=0.01)


def replace_settings(**changes) -> ReconstructSettings:
    return FAST.model_copy(update=changes)


@pytest.mark.parametrize("mode", ["cmcrystal", "dmcrystal"])
def test_the_papers_modes_run(mode) -> None:
    result = reconstruct_task(known_task("pyrite FeS2"), replace_settings(mode=mode))
    assert result.status == "done"
    perfect = {"cmcrystal": 1.0, "dmcrystal": 0.0}[mode]
    assert result.candidates[0].fitness.total == pytest.approx(perfect, abs=1e-2)


def test_the_papers_modes_need_a_map() -> None:
    result = reconstruct_task(known_task(RUTILE, with_map=False), replace_settings(mode="dmcrystal"))
    assert (result.status, result.candidates) == ("failed", ())
    assert "needs predicted maps" in result.reason


def test_the_best_seed_is_always_a_candidate_unchanged() -> None:
    task = known_task(RUTILE, with_seed=True)
    result = reconstruct_task(task, FAST)
    prototype = next(c for c in result.candidates if c.origin == "prototype")
    assert prototype.free_coords == pytest.approx(task.labels[0].seeds[0].free_coords)
    assert prototype.prototype_count == 12


def test_under_a_map_the_searchs_best_comes_before_the_best_seed() -> None:
    result = reconstruct_task(known_task(RUTILE, with_seed=True), FAST)
    assert [c.origin for c in result.candidates[:2]] == ["search", "prototype"]
    assert result.candidates[0].fitness.total > result.candidates[1].fitness.total


def test_seeds_alone_are_evaluated_without_any_search() -> None:
    result = reconstruct_task(known_task(RUTILE, with_seed=True), replace_settings(max_evaluations=0))
    assert [c.origin for c in result.candidates] == ["prototype"]
    assert result.evaluations == 1


def test_a_label_without_free_coordinates_is_not_searched() -> None:
    result = reconstruct_task(known_task("perovskite SrTiO3", spread=0.1), FAST)
    assert result.evaluations == 1
    assert len(result.candidates) == 1


def test_searches_without_maps_keep_to_the_prototypes_first() -> None:
    result = reconstruct_task(known_task("wurtzite ZnS", with_seed=True, with_map=False), FAST)
    assert result.candidates[0].origin == "prototype"
    assert result.candidates[0].fitness.map_log_likelihood is None


def test_an_infeasible_task_is_a_record() -> None:
    task = replace(known_task(RUTILE), status="infeasible", reason="no label", labels=(), maps=())
    result = reconstruct_task(task, FAST)
    assert (result.status, result.reason, result.evaluations) == ("infeasible", "no label", 0)


def test_several_labels_share_the_candidates() -> None:
    rutile = known_task(RUTILE)
    other = replace(
        rutile.labels[0], label=type(rutile.labels[0].label).from_key("136:O-d,Ti-a"), log_prob=-3.0
    )
    map_of_other = replace(rutile.maps[0], label_key=other.label.key)
    task = with_labels(rutile, replace(rutile, labels=(other,), maps=(map_of_other,)))
    result = reconstruct_task(task, FAST)
    assert {c.label.key for c in result.candidates} == {"136:O-f,Ti-a", "136:O-d,Ti-a"}
    assert result.candidates[0].label.key == "136:O-f,Ti-a"
    assert result.candidates[0].label_rank == 0


def first_populations(monkeypatch: pytest.MonkeyPatch, task: ReconstructionTask) -> dict[str, list[float]]:
    """The genes that each label of a task starts from."""
    started: dict[str, list[float]] = {}
    start = search.start_population

    def watched(objective, seeds, settings, seed):
        population = start(objective, seeds, settings, seed)
        started[objective.prediction.label.key] = population.genes.ravel().tolist()
        return population

    with monkeypatch.context() as patch:
        patch.setattr(search, "start_population", watched)
        reconstruct_task(task, replace_settings(max_evaluations=2000, population=20))
    return started


def test_every_label_of_a_task_draws_random_numbers_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    rutile = known_task(RUTILE)
    # Oxygen on 4f or on 4g: one free coordinate each, so that equal random numbers would give equal populations.
    label = type(rutile.labels[0].label).from_key("136:O-g,Ti-a")
    other = replace(
        rutile,
        labels=(replace(rutile.labels[0], label=label),),
        maps=(replace(rutile.maps[0], label_key=label.key),),
    )
    both = first_populations(monkeypatch, with_labels(rutile, other))
    f, g = both["136:O-f,Ti-a"], both["136:O-g,Ti-a"]
    assert len(f) == len(g) == 20
    assert not set(f) & set(g)
    # What a label draws does not hang on its companions, but on the task's seed.
    assert first_populations(monkeypatch, rutile) == {"136:O-f,Ti-a": f}
    assert not set(first_populations(monkeypatch, replace(rutile, seed=8))["136:O-f,Ti-a"]) & set(f)


def test_results_are_distinct_and_bounded() -> None:
    result = reconstruct_task(
        known_task("baddeleyite ZrO2", spread=0.05), replace_settings(candidates_per_label=2)
    )
    assert len(result.candidates) == 2
    one, other = (to_structure(c.crystal) for c in result.candidates)
    assert not StructureMatcher(ltol=0.01, stol=0.01, angle_tol=0.5).fit(one, other)


def test_the_same_seed_gives_the_same_bytes() -> None:
    task = known_task("baddeleyite ZrO2", spread=0.05)
    one, other = (json.dumps(to_plain(reconstruct_task(task, FAST))) for _ in range(2))
    assert one == other
    assert json.dumps(to_plain(reconstruct_task(replace(task, seed=8), FAST))) != one


def test_evaluations_stay_within_their_limit() -> None:
    result = reconstruct_task(known_task("baddeleyite ZrO2"), replace_settings(max_evaluations=2500))
    assert 2000 < result.evaluations <= 2500


def test_the_search_never_loses_its_best() -> None:
    from mapcsp.ga.fitness import build_objective
    from mapcsp.ga.search import search_labels

    task = known_task("baddeleyite ZrO2")
    objective = build_objective(task.labels[0], task.maps[0], FAST)
    (population,) = search_labels([objective], [()], [3], FAST, 4000)
    assert (np.diff(population.trace) >= 0).all()
    assert population.hall[0].fitness.values[0] == pytest.approx(population.trace[-1])


def write_job(folder: Path, tasks: list[ReconstructionTask]) -> tuple[Path, Path, Path]:
    task_file, settings_file = folder / "tasks.jsonl", folder / "reconstruct.json"
    write_records(task_file, ReconstructionTask, tasks)
    write_json(settings_file, replace_settings(max_evaluations=2000).model_dump(mode="json"))
    return task_file, settings_file, folder / "results" / "job.jsonl"


NAMES = (RUTILE, "wurtzite ZnS", "pyrite FeS2")


def test_a_job_writes_one_result_a_task(tmp_path: Path) -> None:
    task_file, settings_file, output = write_job(tmp_path, [known_task(n) for n in NAMES])
    run_reconstruct([task_file], settings_file, output)
    assert [r.task_id for r in read_records(output, TaskResult)] == ["TiO2_136", "ZnS_186", "FeS2_205"]


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the tasks that are really searched, and not found finished."""
    done: list[str] = []

    def counted(task, settings):
        done.append(task.id)
        return reconstruct_task(task, settings)

    monkeypatch.setattr(reconstruct, "reconstruct_task", counted)
    return done


def test_a_killed_job_resumes_with_the_same_bytes(
    tmp_path: Path, searched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    task_file, settings_file, output = write_job(tmp_path, [known_task(n) for n in NAMES])
    run_reconstruct([task_file], settings_file, output)
    expected = output.read_bytes()
    output.unlink()
    searched.clear()

    with monkeypatch.context() as kill, pytest.raises(KeyboardInterrupt):
        search = reconstruct.reconstruct_task

        def killed(task, settings):
            if len(searched) == 2:
                raise KeyboardInterrupt
            return search(task, settings)

        kill.setattr(reconstruct, "reconstruct_task", killed)
        run_reconstruct([task_file], settings_file, output, tmp_path / "finished")
    assert not output.exists()
    run_reconstruct([task_file], settings_file, output, tmp_path / "finished")
    assert searched == [known_task(n).id for n in NAMES]
    assert output.read_bytes() == expected


def test_a_finished_search_is_not_repeated_in_another_job(tmp_path: Path, searched: list[str]) -> None:
    tasks = [known_task(n) for n in NAMES]
    task_file, settings_file, output = write_job(tmp_path, tasks)
    finished = tmp_path / "finished"
    run_reconstruct([task_file], settings_file, output, finished)
    assert searched == [task.id for task in tasks]
    expected = read_records(output, TaskResult)
    searched.clear()
    # The bucket has split: two of its tasks go to one job, the third to another, which holds a new one.
    parts = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    write_records(parts[0], ReconstructionTask, tasks[:2])
    write_records(parts[1], ReconstructionTask, [replace(tasks[0], id="new"), tasks[2]])
    for part in parts:
        run_reconstruct([part], settings_file, tmp_path / f"{part.stem}-results.jsonl", finished)
    assert searched == ["new"]
    found = [*read_records(tmp_path / "first-results.jsonl", TaskResult)]
    found += read_records(tmp_path / "second-results.jsonl", TaskResult)[1:]
    assert [to_plain(r) for r in found] == [to_plain(r) for r in expected]


def test_a_damaged_finished_search_is_repeated(tmp_path: Path, searched: list[str]) -> None:
    task_file, settings_file, output = write_job(tmp_path, [known_task(n) for n in NAMES])
    finished = tmp_path / "finished"
    run_reconstruct([task_file], settings_file, output, finished)
    expected = output.read_bytes()
    (damaged,) = finished.glob("*/ZnS_186.jsonl")
    damaged.write_text(damaged.read_text()[:-40])
    searched.clear()
    run_reconstruct([task_file], settings_file, output, finished)
    assert searched == ["ZnS_186"]
    assert output.read_bytes() == expected


def test_a_changed_task_alone_is_searched_again(tmp_path: Path, searched: list[str]) -> None:
    tasks = [known_task(n) for n in NAMES]
    task_file, settings_file, output = write_job(tmp_path, tasks)
    run_reconstruct([task_file], settings_file, output, tmp_path / "finished")
    write_records(task_file, ReconstructionTask, [tasks[0], replace(tasks[1], seed=99), tasks[2]])
    searched.clear()
    run_reconstruct([task_file], settings_file, output, tmp_path / "finished")
    assert searched == ["ZnS_186"]
    assert len([*(tmp_path / "finished").glob("*/*.jsonl")]) == 3


def test_a_changed_setting_searches_everything_again(tmp_path: Path, searched: list[str]) -> None:
    task_file, settings_file, output = write_job(tmp_path, [known_task(RUTILE)])
    run_reconstruct([task_file], settings_file, output, tmp_path / "finished")
    write_json(settings_file, replace_settings(max_evaluations=2001).model_dump(mode="json"))
    searched.clear()
    run_reconstruct([task_file], settings_file, output, tmp_path / "finished")
    assert searched == ["TiO2_136"]


def test_a_missing_task_file_is_named(tmp_path: Path) -> None:
    _, settings_file, output = write_job(tmp_path, [])
    with pytest.raises(StoreError, match="nowhere.jsonl"):
        run_reconstruct([tmp_path / "nowhere.jsonl"], settings_file, output)


@pytest.mark.parametrize("mode", ["cmcrystal", "dmcrystal"])
def test_choosing_a_papers_mode_in_the_config_sets_the_papers_search(mode) -> None:
    # config.yaml spells out every default.
    config = {"reconstruct": {**ReconstructSettings().model_dump(mode="json"), "mode": mode}}
    chosen = parse_settings(config).reconstruct
    assert chosen == paper_settings(mode)
    assert (chosen.population, chosen.max_evaluations, chosen.mutation_rate) == (100, 100_000, 0.001)
    assert (chosen.seed_fraction, chosen.patience) == (0, 1000)


def test_what_the_user_sets_stays_in_a_papers_mode() -> None:
    chosen = parse_settings({"reconstruct": {"mode": "cmcrystal", "max_evaluations": 500}}).reconstruct
    assert (chosen.max_evaluations, chosen.mutation_rate) == (500, 0.001)
    # Frozen to a file and read again, as the stage does.
    assert ReconstructSettings.model_validate(chosen.model_dump(mode="json")) == chosen


def test_the_papers_modes_use_no_known_geometry() -> None:
    task = known_task("wurtzite ZnS", with_seed=True)
    result = reconstruct_task(task, paper_settings("dmcrystal").model_copy(update={"max_evaluations": 2000}))
    assert {c.origin for c in result.candidates} == {"search"}


def test_the_bench_measures_all_three_rates() -> None:
    bench = bench_search()
    assert bench.evaluations_per_s > bench.plain_deap_evaluations_per_s > 0
    assert bench.search_100k_s > 0

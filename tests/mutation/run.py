"""Tries faulty versions of the modules that decide an answer, and counts those that the tests see.

    .venv/bin/python tests/mutation/run.py [--modules ga/fitness …] [--sample 60] [--seed 1] [--output FILE]

One process imports everything, runs all tests once to see which lines each reaches, and forks for each mutant: the child
gives the function its faulty code and runs the tests that reach the changed lines, then those that reach the module, until
one fails. Where the fault is in what is evaluated at import (constants, defaults), the child imports mapcsp anew. Tests that
start other processes (Snakemake, the command line) see no mutant and reach nothing here, so they are not asked.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import pickle
import resource
import shutil
import signal
import sys
import tempfile
import time
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import coverage
import pytest
import yaml
from mutants import Mutant, mutants
from tqdm import tqdm

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "workflow" / "mapcsp"
OUTPUT = ROOT / "resources" / "benchmarks" / "mutation.json"
EQUIVALENT = Path(__file__).with_name("equivalent.yaml")

TARGETS = (
    "ga/score",
    "ga/fitness",
    "symmetry/known_labels",
    "symmetry/predict",
    "symmetry/feasible",
    "ranking",
    "formulas",
    "api/structures",
    "structure_files",
)
# The test files that may see a fault there; the others would only add to what is caught.
TEST_FILES = (
    "test_api*.py",
    "test_ga_*.py",
    "test_intake*.py",
    "test_known_labels.py",
    "test_limits.py",
    "test_messages.py",
    "test_pool.py",
    "test_predicted_labels.py",
    "test_rank*.py",
    "test_reconstruct_seeds.py",
    "test_scale.py",
    "test_structure*.py",
    "test_symmetry*.py",
)
# What the server imports once for all mutants.
LIBRARIES = (
    "ase.io", "click.testing", "deap.base", "hypothesis", "jinja2", "matplotlib", "moyopy", "numba", "pandas",
    "pyarrow.parquet", "pydantic", "pymatgen.analysis.local_env", "pymatgen.analysis.structure_matcher",
    "pymatgen.io.cif", "pymatgen.io.vasp", "safetensors.torch", "scipy.optimize", "scipy.stats", "smact.screening",
    "torch", "yaml",
)  # fmt: skip
# Of the tests asked about one mutant, as measured under coverage.
MOST_TEST_SECONDS = 15.0
MOST_BYTES = 16 << 30


@dataclass(frozen=True)
class Reach:
    """A test, how long it takes, and the lines of each target that it runs."""

    test: str
    seconds: float
    lines: dict[str, frozenset[int]]


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: `caught`, `time` (caught, since it ran on and on), `survived` or `unreached`."""

    mutant: Mutant
    outcome: str


def modules_of(targets: Sequence[str]) -> list[str]:
    """Modules of targets, which may be packages: `ranking` gives `ranking/fit` and so on."""
    found = []
    for target in targets:
        path = PACKAGE / target
        files = sorted(path.glob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
        found += [str(f.relative_to(PACKAGE).with_suffix("")) for f in files if f.name != "__init__.py"]
    return found


class Warm:
    """Pytest plugin: runs all tests once, to know what they reach, then some of them for each mutant of a function."""

    def __init__(self, modules: Sequence[str], found: Sequence[Mutant], jobs: int) -> None:
        self._modules, self._found, self._jobs = modules, found, jobs
        self._failed: set[str] = set()
        self.reach: list[Reach] = []
        self.failing: list[str] = []
        self.verdicts: list[Verdict] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:
            self._failed.add(report.nodeid)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._measure(session)
        items = {item.nodeid: item for item in session.items}

        def attempt(mutant: Mutant, tests: Sequence[str], folder: Path) -> int:
            if mutant.function:
                _swap(mutant)
            session.config._tmp_path_factory._basetemp = folder
            return self._first_failure([items[test] for test in tests])

        # A mutant that changes nothing must survive.
        controls = [Mutant(m, "", 0, 0, "nothing", "") for m in self._modules]
        tried = judge(controls, self.reach, self._jobs, attempt, "without a mutant")
        self.failing = [v.mutant.module for v in tried if v.outcome in ("caught", "time")]
        if not self.failing:
            self.verdicts = judge(self._found, self.reach, self._jobs, attempt, "mutants of functions")
        return True

    def _first_failure(self, items: Sequence[pytest.Item]) -> int:
        self._failed.clear()
        for item, following in zip(items, [*items[1:], None]):
            item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
            if self._failed:
                return 1
        return 0

    def _measure(self, session: pytest.Session) -> None:
        """Tests that fail or are skipped are left out."""
        if session.testsfailed:
            raise session.Interrupted(
                "a test file cannot be imported: without its tests too few mutants would be caught"
            )
        measured = coverage.Coverage(
            data_file=None, include=[str(PACKAGE / f"{m}.py") for m in self._modules], config_file=False
        )
        measured.start()
        seconds: dict[str, float] = {}
        for item, following in tqdm(
            [*zip(session.items, [*session.items[1:], None])], desc="tests", mininterval=5
        ):
            measured.switch_context(item.nodeid)
            # Caches, so that a value that another test has asked for does not hide what this one reaches.
            _forget(self._modules)
            started = time.process_time()
            item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
            seconds[item.nodeid] = time.process_time() - started
        measured.stop()
        _forget(self._modules)
        lines: dict[str, dict[str, set[int]]] = {test: {} for test in seconds}
        for module in self._modules:
            for line, contexts in (
                measured.get_data().contexts_by_lineno(str(PACKAGE / f"{module}.py")).items()
            ):
                for test in contexts:
                    if test in lines:
                        lines[test].setdefault(module, set()).add(line)
        self.reach = [
            Reach(test, seconds[test], {m: frozenset(n) for m, n in mine.items()})
            for test, mine in lines.items()
            if mine and test not in self._failed
        ]


def _forget(modules: Sequence[str]) -> None:
    """Empty the caches of functions whose values a mutant may change: those of modules that import a target."""
    from mapcsp.provenance import imported_modules

    for name, module in [*sys.modules.items()]:
        if name.startswith("mapcsp.") and getattr(module, "__file__", "").startswith(str(PACKAGE)):
            entry = str(Path(module.__file__).relative_to(PACKAGE).with_suffix(""))
            if set(imported_modules(entry)) & set(modules):
                for value in vars(module).values():
                    if hasattr(value, "cache_clear") and value.__module__ == name:
                        value.cache_clear()


def _swap(mutant: Mutant) -> None:
    """Give a function the code of a mutant; whoever has imported the function has it, too."""
    code = compile(mutant.source, str(PACKAGE / f"{mutant.module}.py"), "exec", dont_inherit=True)
    holder = importlib.import_module("mapcsp." + mutant.module.replace("/", "."))
    for name in mutant.function.split("."):
        code = next(c for c in code.co_consts if isinstance(c, types.CodeType) and c.co_name == name)
        holder = vars(holder)[name]
    for attribute in ("fget", "func", "__func__", "__wrapped__"):
        holder = getattr(holder, attribute, holder)
    holder.__code__ = code


def _attempt_anew(mutant: Mutant, tests: Sequence[str], folder: Path) -> int:
    """Import mapcsp with a mutant in the place of its module, and run tests."""
    sys.meta_path.insert(0, _Mutated(mutant))
    return _pytest(["-x", *tests], folder)


class _Mutated(importlib.abc.MetaPathFinder):
    """Finds one module with other source."""

    def __init__(self, mutant: Mutant) -> None:
        self._name = "mapcsp." + mutant.module.replace("/", ".")
        self._mutant = mutant

    def find_spec(self, fullname, path=None, target=None):
        if fullname != self._name:
            return None
        file, source = str(PACKAGE / f"{self._mutant.module}.py"), self._mutant.source

        class Loader(importlib.machinery.SourceFileLoader):
            def get_code(self, name):
                return compile(source, file, "exec", dont_inherit=True)

        return importlib.util.spec_from_file_location(fullname, file, loader=Loader(fullname, file))


def _pytest(arguments: Sequence[str], folder: Path, *plugins: object) -> int:
    from hypothesis import HealthCheck, settings

    # A busy machine must not look like a fault.
    settings.register_profile(
        "mutation", derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    settings.load_profile("mutation")
    marked = "not workflow and not slurm and not scale and not science"
    options = [
        "-m",
        marked,
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        f"--basetemp={folder / 'tmp'}",
        f"--rootdir={ROOT}",
    ]
    return int(pytest.main([*options, *arguments], plugins=list(plugins)))


def _fork(work: Callable[[], int], quiet: bool = True) -> int:
    """Start `work` in a child."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2) if quiet else (0, 1):
            os.dup2(nothing, stream)
        os.chdir(ROOT)
        code = work()
    finally:
        os._exit(code)


def _tests_for(mutant: Mutant, reach: Sequence[Reach]) -> tuple[list[str], float]:
    """Tests that reach the changed lines, then those that reach the module (fixtures hide lines); the quick first."""
    lines = set(range(mutant.first_line, mutant.last_line + 1))
    near = [bool(r.lines.get(mutant.module, frozenset()) & lines) for r in reach]
    if mutant.function and not any(near):
        return [], 0.0
    order = sorted(
        (i for i, r in enumerate(reach) if mutant.module in r.lines),
        key=lambda i: (not near[i], reach[i].seconds, reach[i].test),
    )
    chosen, total = [], 0.0
    for i in order:
        total += reach[i].seconds
        if chosen and total > MOST_TEST_SECONDS:
            break
        chosen.append(reach[i].test)
    return chosen, min(total, MOST_TEST_SECONDS)


Attempt = Callable[[Mutant, Sequence[str], Path], int]


def judge(
    found: Sequence[Mutant], reach: Sequence[Reach], jobs: int, attempt: Attempt, title: str
) -> list[Verdict]:
    """Try each mutant in a child, `jobs` at once; `attempt` gives 0 if all tests pass."""

    def limited(mutant: Mutant, tests: Sequence[str], seconds: float, folder: Path) -> int:
        # Processor time: a busy machine must not pass for a mutant that never ends.
        limit = int(30 + 4 * seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
        return attempt(mutant, tests, folder)

    verdicts: dict[int, Verdict] = {}
    running: dict[int, tuple[int, Path, float]] = {}
    waiting = list(range(len(found)))[::-1]
    bar = tqdm(total=len(found), desc=title, unit="mutant", mininterval=5)
    while waiting or running:
        while waiting and len(running) < jobs:
            index = waiting.pop()
            tests, seconds = _tests_for(found[index], reach)
            if not tests:
                verdicts[index] = Verdict(found[index], "unreached")
                bar.update()
                continue
            folder = Path(tempfile.mkdtemp(prefix="mutant"))
            child = _fork(lambda m=found[index], t=tests, s=seconds, f=folder: limited(m, t, s, f))
            running[child] = (index, folder, time.monotonic() + 60 * (30 + 4 * seconds))
        if not running:
            continue
        child, status = os.waitpid(-1, os.WNOHANG)
        if not child:
            for late in [c for c, (_, _, end) in running.items() if time.monotonic() > end]:
                os.killpg(late, signal.SIGKILL)
            time.sleep(0.02)
            continue
        index, folder, _ = running.pop(child)
        code = os.waitstatus_to_exitcode(status)
        outcome = (
            "survived" if code == 0 else "time" if code in (-signal.SIGXCPU, -signal.SIGKILL) else "caught"
        )
        verdicts[index] = Verdict(found[index], outcome)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
        bar.update()
    bar.close()
    return [verdicts[i] for i in range(len(found))]


def judge_all(
    found: Sequence[Mutant], modules: Sequence[str], files: Sequence[Path], jobs: int
) -> list[Verdict]:
    """Mutants of functions in a child that has imported everything, the others in children that import it anew."""
    inside = [m for m in found if m.function]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def warm() -> int:
            plugin = Warm(modules, inside, jobs)
            code = _pytest([str(f) for f in files], folder, plugin)
            (folder / "answer").write_bytes(
                pickle.dumps((plugin.reach, plugin.failing, [v.outcome for v in plugin.verdicts]))
            )
            return code

        os.waitpid(_fork(warm, quiet=False), 0)
        reach, failing, outcomes = pickle.loads((folder / "answer").read_bytes())
    if failing:
        raise SystemExit(f"the tests fail without any mutant in {', '.join(failing)}; mend them first")
    of_functions = map(Verdict, inside, outcomes)
    outside = [m for m in found if not m.function]
    return [
        *of_functions,
        *judge(outside, reach, jobs, _attempt_anew, "mutants of what is evaluated at import"),
    ]


def read_equivalent() -> dict[tuple[str, str, str], str]:
    """Mutants that change nothing anyone can see, by (module, function, change), each with its reason."""
    listed = yaml.safe_load(EQUIVALENT.read_text(encoding="utf-8")) or []
    return {(e["module"], e["function"], " ".join(e["change"].split())): e["reason"] for e in listed}


def summary(verdicts: Sequence[Verdict], possible: dict[str, int], seed: int, sample: int) -> dict:
    """The figures, by module and in all."""
    from mapcsp.provenance import current_commit

    equivalent = read_equivalent()
    modules: dict[str, dict] = {}
    survivors, excluded = [], []
    for module, n in possible.items():
        counts = {"possible": n, "tried": 0, "equivalent": 0, "caught": 0, "caught_by_time": 0, "survived": 0}
        for verdict in (v for v in verdicts if v.mutant.module == module):
            mutant = verdict.mutant
            shown = {
                "module": module,
                "function": mutant.function,
                "line": mutant.first_line,
                "change": mutant.change,
            }
            counts["tried"] += 1
            if verdict.outcome in ("caught", "time"):
                counts["caught"] += 1
                counts["caught_by_time"] += verdict.outcome == "time"
            elif reason := equivalent.get((module, mutant.function, " ".join(mutant.change.split()))):
                counts["equivalent"] += 1
                excluded.append({**shown, "reason": reason})
            else:
                counts["survived"] += 1
                survivors.append({**shown, "reached": verdict.outcome == "survived"})
        modules[module] = {**counts, "share_caught": _share(counts["caught"], counts["survived"])}
    totals = {
        k: sum(m[k] for m in modules.values())
        for k in ("possible", "tried", "equivalent", "caught", "survived")
    }
    return {
        "command": f"python tests/mutation/run.py --sample {sample} --seed {seed}",
        "commit": current_commit(),
        "operators": f"mutmut {version('mutmut')}, and a call dropped, a condition negated",
        "sample_per_module": sample,
        "seed": seed,
        **totals,
        "share_caught": _share(totals["caught"], totals["survived"]),
        "modules": modules,
        "survivors": survivors,
        "equivalent_mutants": excluded,
    }


def _share(caught: int, survived: int) -> float | None:
    return round(caught / (caught + survived), 3) if caught + survived else None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--modules", nargs="+", default=TARGETS, help="modules or packages, such as ga/fitness ranking"
    )
    parser.add_argument("--tests", nargs="+", default=TEST_FILES, help="names or patterns of test files")
    parser.add_argument(
        "--sample", type=int, default=40, help="mutants of each module; all where there are fewer"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    # One thread each, and this checkout's package, also for what a test starts.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    os.environ["PYTHONPATH"] = str(PACKAGE.parent)
    sys.path.insert(0, str(PACKAGE.parent))
    for name in LIBRARIES:
        importlib.import_module(name)
    modules = modules_of(given.modules)
    found: list[Mutant] = []
    possible: dict[str, int] = {}
    for module in tqdm(modules, desc="mutants of", unit="module"):
        source = (PACKAGE / f"{module}.py").read_text(encoding="utf-8")
        possible[module], mine = mutants(module, source, given.sample, given.seed)
        found += mine
    files = sorted({f for pattern in given.tests for f in (ROOT / "tests").glob(pattern)})
    verdicts = judge_all(found, modules, files, given.jobs)
    figures = summary(verdicts, possible, given.seed, given.sample)
    given.output.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for name, counts in {**figures["modules"], "all": figures}.items():
        print(
            f"{name:26} tried {counts['tried']:4}  equivalent {counts['equivalent']:3}  caught {counts['caught']:4}"
            f"  survived {counts['survived']:3}  {counts['share_caught']}"
        )


if __name__ == "__main__":
    main()

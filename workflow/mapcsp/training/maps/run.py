"""Commands that train and judge the map networks: `python -m mapcsp.training.maps.run COMMAND`, called by
`snakemake --snakefile workflow/Snakefile.training train_maps`.

Everything unfinished lies in the work folder, so that the same command after a kill goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import torch
from tqdm import tqdm

from mapcsp.errors import UserError
from mapcsp.maps.models import WEIGHTS, MapModel, load_weights, save_model
from mapcsp.maps.refiner import MapRefiner, n_parameters
from mapcsp.provenance import current_commit
from mapcsp.records import SymmetryPrediction
from mapcsp.settings import SymmetrySettings
from mapcsp.store import read_header, read_json, read_records, write_csv, write_json, write_records
from mapcsp.training.encoded import encoded_tables
from mapcsp.training.maps import train_default as default_training
from mapcsp.training.maps.card import write_card
from mapcsp.training.maps.evaluate import (
    fit_spread_scale,
    judge,
    judge_contacts,
    judge_default,
    judge_label_given,
    paper_predictor,
)
from mapcsp.training.maps.experiments import EXPERIMENTS, TRAININGS, describe, draw, select, shortened
from mapcsp.training.maps.floors import judge_baselines, judge_likely_rows
from mapcsp.training.maps.pairs import MapTarget, build_targets, read_targets, write_targets
from mapcsp.training.maps.rows import RowOrders
from mapcsp.training.maps.scrambling import compare_scrambled
from mapcsp.training.maps.train_papers import train_paper
from mapcsp.training.maps.truth import MapTruth, true_maps
from mapcsp.training.options import FILE, FOLDER, folder_option, run_command, tables_option, time_limit
from mapcsp.training.split import is_held_out
from mapcsp.training.tables import KnownCrystal, read_structures

JUDGED_ATOMS = 12


@click.group()
def main() -> None:
    """Train and judge the networks that predict maps."""
    torch.set_num_threads(torch.get_num_threads() if torch.cuda.is_available() else 1)


def target_sets(
    train: Sequence[Path], work: Path, limit: int | None
) -> tuple[list[MapTarget], list[MapTarget]]:
    """Targets to train on and held-out ones (at most 12 atoms), kept in the work folder. limit: most of each,
    for a trial."""
    rows = encoded_tables(train, work / "encoded")
    library = [r for r in rows if not is_held_out(r.formula)]
    held = [r for r in rows if is_held_out(r.formula) and r.n_atoms <= JUDGED_ATOMS]
    sets = []
    for name, crystals, seed in (("train", library, 2), ("held", held, 1)):
        path = work / f"{name}.jsonl"
        if not path.exists():
            write_targets(path, build_targets(crystals[:limit], library, seed))
        sets.append(read_targets(path))
    return sets[0], sets[1]


@main.command()
@tables_option("--train", "Structure tables to learn from.")
@folder_option("--work", "Folder for everything unfinished.")
@folder_option("--output", "Folder of the model, resources/models/maps.")
@click.option("--minutes", type=float, help="Stop after this time, to go on later.")
@click.option("--epochs", type=click.IntRange(1), help="Epochs of each phase instead of the default.")
@click.option("--limit", type=click.IntRange(1), help="Most crystals to learn from, for a trial.")
def default(
    train: tuple[Path, ...],
    work: Path,
    output: Path,
    minutes: float | None,
    epochs: int | None,
    limit: int | None,
) -> None:
    """Train the default network: cells of at most 12 atoms first, then all sizes."""
    targets, held = target_sets(train, work, limit)
    keep_going = time_limit(minutes)
    network: MapRefiner | None = None
    for name, max_atoms, config in default_training.PHASES:
        if epochs is not None:
            config = replace(config, loop=replace(config.loop, epochs=epochs))
        chosen = [t for t in targets if len(t.geometry().species) <= max_atoms]
        start = None if network is None else network.cpu().state_dict()
        network = default_training.train_refiner(chosen, held, config, work / name, keep_going, start)
        if network is None:
            raise UserError(f"time is up in phase {name}; run the same command again to go on")
    assert network is not None
    network.cpu().eval()
    scale = fit_spread_scale(MapModel(output.name, "refiner", network), held)
    save_model(output / WEIGHTS, MapModel(output.name, "refiner", network, None, scale))
    _copy_curves(output, [(name, work / name / "curve.csv") for name, _, _ in default_training.PHASES])


def _copy_curves(output: Path, curves: Sequence[tuple[str, Path]]) -> None:
    """Gather loss curves in one table with a column that names them."""
    from mapcsp.store import read_csv

    tables = [(name, read_csv(path)) for name, path in curves]
    columns = list(dict.fromkeys(c for _, rows in tables for row in rows for c in row))
    rows = [[name, *(row.get(c, "") for c in columns)] for name, table in tables for row in table]
    write_csv(output / "curve.csv", ["phase", *columns], rows)


@main.command()
@click.option(
    "--experiment",
    required=True,
    type=click.Choice(sorted(EXPERIMENTS)),
    help="Row of a paper's table.",
)
@click.option(
    "--settings",
    type=click.Choice(sorted(TRAININGS)),
    help="How to train instead of as the committed figures were.",
)
@tables_option("--train", "Structure tables to draw training crystals from.")
@tables_option("--test", "Structure tables to judge on.")
@folder_option("--work", "Folder for everything unfinished; its figures go to <experiment>.json there.")
@click.option(
    "--output",
    type=FOLDER,
    help="Also write the weights to this folder.",
)
@click.option("--minutes", type=float, help="Stop after this time, to go on later.")
@click.option("--epochs", type=click.IntRange(1), help="Epochs instead of the experiment's or the setting's.")
def paper(
    experiment: str,
    settings: str | None,
    train: tuple[Path, ...],
    test: tuple[Path, ...],
    work: Path,
    output: Path | None,
    minutes: float | None,
    epochs: int | None,
) -> None:
    """Train the papers' network in one of their experiments and judge it."""
    chosen = EXPERIMENTS[experiment]
    training = chosen.training if settings is None else TRAININGS[settings]
    if epochs is not None:
        training = shortened(training, epochs)
    known = truth_table(train)
    folder = work / f"{experiment}-{settings or chosen.settings}"
    held = [t for t in known if is_held_out(t.formula)]
    learned = [t for t in known if not is_held_out(t.formula)]
    model = train_paper(chosen, training, learned, held, experiment, folder, time_limit(minutes))
    if model is None:
        raise UserError(f"time is up in {experiment}; run the same command again to go on")
    judged = draw(select(truth_table(test), chosen.subset), chosen.n_test, training.loop.seed)
    if output is not None:
        save_model(output / WEIGHTS, model)
        _copy_curves(output, [(experiment, folder / "curve.csv")])
        # What is shipped is judged, rounding included.
        model = load_weights(output / WEIGHTS, experiment)
    figures: dict
    if chosen.n_groups is None:
        figures = judge_contacts(judged, select(held, chosen.subset), model)
    else:
        figures = judge(judged, paper_predictor(model, expected=False))
        expected = judge(judged, paper_predictor(model))
        figures |= {f"{k}_expected": v for k, v in expected.items() if "distance" in k}
    used = draw(select(learned, chosen.learned_from), chosen.n_train, training.loop.seed)
    figures |= judge_baselines(judged, used)
    if chosen.n_groups is None:
        figures = {k: v for k, v in figures.items() if "contact" in k}
    figures |= {
        "crystals": len(judged),
        "crystals_trained": len(used),
        "parameters": n_parameters(model.network),
    }
    figures |= {f"paper_{k}": v for k, v in chosen.paper}
    figures |= {"split": _names(test), "trained_on": _names(train), "commit": current_commit()}
    write_json(work / f"{experiment}.json", figures | describe(chosen, training))


def truth_table(tables: Sequence[Path]) -> list[MapTruth]:
    """True maps of all crystals of at most 12 atoms, with the tables' space groups."""
    import pyarrow.parquet as pq

    numbers: dict[str, int] = {}
    for table in tables:
        if "space_group" in pq.read_schema(table).names:
            columns = pq.read_table(table, columns=["material_id", "space_group"]).to_pydict()
            numbers |= dict(zip(columns["material_id"], columns["space_group"]))
    known: list[KnownCrystal] = [r for r in read_structures(tables, JUDGED_ATOMS) if r.crystal.n_atoms > 1]
    return true_maps(known, [numbers.get(r.material_id) for r in known])


@main.command()
@tables_option("--train", "Structure tables that were learned from.")
@tables_option("--test", "Structure tables to judge on.")
@folder_option("--work", "Folder for everything unfinished.")
@folder_option("--output", "Folder of the model to judge; gets metrics.json.")
@click.option(
    "--symmetry", default="symmetry", show_default=True, help="Entry of the registry that predicts labels."
)
@click.option(
    "--predictions", type=FILE, help="Labels predicted before, by material id, to judge with instead."
)
def evaluate(
    train: tuple[Path, ...],
    test: tuple[Path, ...],
    work: Path,
    output: Path,
    symmetry: str,
    predictions: Path | None,
) -> None:
    """Judge the default network: from the content of the cell alone, and with label and cell given."""
    model = load_weights(output / WEIGHTS, output.name)
    known, truths = truth_table(train), truth_table(test)
    seen = {t.formula for t in known}
    truths = [t for t in truths if t.formula not in seen]
    if predictions is None:
        predictions = work / "symmetry.jsonl"
        _predict_symmetry(truths, predictions, symmetry)
    labels = {p.id: p for p in read_records(predictions, SymmetryPrediction)}
    library = encoded_tables(train, work / "encoded")
    rows = RowOrders(library, known)
    figures: dict = judge_default(model, truths, labels, rows)
    targets = build_targets(
        [r for r in encoded_tables(test, work / "encoded") if r.n_atoms <= JUDGED_ATOMS], library, 4
    )
    by_id = {t.material_id: t for t in truths}
    figures |= judge_label_given(model, targets, by_id) | judge_likely_rows(targets, by_id, rows)
    figures |= judge_baselines(truths, known)
    figures |= {
        "crystals": len(truths),
        "parameters": n_parameters(model.network),
        "spread_scale": model.spread_scale,
        "symmetry_weights": read_header(predictions).get("weights", "unknown")[:16],
    }
    figures |= {"split": _names(test), "trained_on": _names(train), "commit": current_commit()}
    write_json(output / "metrics.json", figures)


@main.command()
@tables_option("--train", "Structure tables to learn from.")
@tables_option("--test", "Structure tables to judge on.")
@folder_option("--work", "Folder for everything unfinished.")
@folder_option("--output", "Folder of the model; gets scrambling.json, which its card shows.")
@click.option("--minutes", type=float, help="Stop after this time, to go on later.")
@click.option(
    "--epochs", type=click.IntRange(1), default=4, show_default=True, help="Epochs of each training."
)
@click.option("--limit", type=click.IntRange(1), help="Most crystals to learn from.")
def scramble(
    train: tuple[Path, ...],
    test: tuple[Path, ...],
    work: Path,
    output: Path,
    minutes: float | None,
    epochs: int,
    limit: int | None,
) -> None:
    """Train the default network shortly on true and on scrambled maps, and judge both (y-scrambling)."""
    targets, held = target_sets(train, work, None)
    config = default_training.RefinerTraining()
    config = replace(config, loop=replace(config.loop, epochs=epochs))
    chosen = [t for t in targets if len(t.geometry().species) <= JUDGED_ATOMS]
    drawn = draw(chosen, limit or len(chosen), config.loop.seed)
    rows = [r for r in encoded_tables(test, work / "encoded") if r.n_atoms <= JUDGED_ATOMS]
    judged = build_targets(rows, encoded_tables(train, work / "encoded"), 4)
    known = truth_table(train)
    seen = {t.formula for t in known}
    truths = {t.material_id: t for t in truth_table(test) if t.formula not in seen}
    folder = work / "scrambling"
    found = compare_scrambled(drawn, held, judged, truths, known, config, folder, time_limit(minutes))
    if found is None:
        raise UserError("time is up; run the same command again to go on")
    described = {"crystals_trained": len(drawn), "epochs": epochs, "split": _names(test)}
    write_json(output / "scrambling.json", {"figures": found, **described, "commit": current_commit()})


def _predict_symmetry(truths: Sequence[MapTruth], path: Path, name: str) -> None:
    """Write the labels of each crystal's content, by a symmetry model of the registry, unless the file has them already."""
    from mapcsp.provenance import file_sha256
    from mapcsp.registry import registered_model
    from mapcsp.symmetry.predict import symmetry_predictor
    from mapcsp.training.maps.truth import content_entry

    key = file_sha256(registered_model(name, "symmetry.model").folder / WEIGHTS)
    if not path.exists() or read_header(path).get("weights") != key:
        predict = symmetry_predictor(SymmetrySettings(model=name, n_labels=10))
        found = (predict(content_entry(t)) for t in tqdm(truths, desc="symmetry", mininterval=10))
        write_records(path, SymmetryPrediction, found, weights=key)


@main.command()
@folder_option("--model", "Folder of the model; gets card.md.")
@click.option(
    "--results",
    type=FOLDER,
    help="Folder with figures of the papers' experiments.",
)
@click.option("--main-experiment", help="Experiment whose figures become the model's metrics.json.")
def card(model: Path, results: Path | None, main_experiment: str | None) -> None:
    """Write a model's card (and a paper network's metrics.json) from figures; nothing in it is typed by hand."""
    tables = {} if results is None else {p.stem: read_json(p) for p in sorted(results.glob("*.json"))}
    if main_experiment is not None:
        write_json(model / "metrics.json", tables[main_experiment])
    write_card(model, tables)


def _names(tables: Sequence[Path]) -> list[str]:
    return [t.stem for t in tables]


if __name__ == "__main__":
    run_command(main)

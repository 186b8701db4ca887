"""Commands that train and judge DeepRelax: `python -m mapcsp.training.deeprelax.run COMMAND`, called by
`snakemake --snakefile workflow/Snakefile.training train_deeprelax`.

Everything unfinished lies in the work folder, so that the same command after a kill goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch

from mapcsp.deeprelax.model import WEIGHTS, RelaxModel, load_model, save_model
from mapcsp.deeprelax.network import n_parameters
from mapcsp.deeprelax.pairs import RelaxPair, read_pairs, write_pairs
from mapcsp.deeprelax.user_pairs import read_own_pairs
from mapcsp.errors import UserError
from mapcsp.provenance import current_commit
from mapcsp.records import CandidatePool
from mapcsp.settings import RelaxSettings
from mapcsp.store import read_csv, read_json, read_records, write_csv, write_json
from mapcsp.training.deeprelax.card import write_card
from mapcsp.training.deeprelax.evaluate import judge, judge_against_potential, judge_answers
from mapcsp.training.deeprelax.painn import PAINN_NETWORK, LibraryPaiNN, library_painn
from mapcsp.training.deeprelax.pairs import build_pairs, candidate_pairs
from mapcsp.training.deeprelax.train import PAPER, SHIPPED, RelaxTraining, train_member
from mapcsp.training.encoded import MAX_ATOMS, EncodedKnown, encoded_tables
from mapcsp.training.geometries import elemental_volumes
from mapcsp.training.options import folder_option, run_command, tables_option, time_limit
from mapcsp.training.split import is_held_out
from mapcsp.training.tables import read_structures

PAIRS_EACH = 5
CURVE_PAIRS = 400
ABLATION_PAIRS = 200
ABLATION_SHARE = 6
TIMED_PAIRS = 100
TRAININGS = {"shipped": SHIPPED, "paper": PAPER}
ABLATIONS = {
    "deeprelax": {},
    "vanilla": {"periodic": False, "uncertain": False},
    "p": {"uncertain": False},
    "u": {"periodic": False},
    "direct": {"periodic": False, "uncertain": False, "direct": True},
}
"""Switches of the paper's ablations (Table 4), and a network that gives displacements directly, as its baselines do."""


@click.group()
def main() -> None:
    """Train and judge one-pass relaxation."""
    torch.set_num_threads(torch.get_num_threads() if torch.cuda.is_available() else 1)


def _library(train: Sequence[Path], work: Path) -> list[EncodedKnown]:
    return [r for r in encoded_tables(train, work / "encoded") if not is_held_out(r.formula)]


def pair_sets(train: Sequence[Path], work: Path) -> tuple[list[RelaxPair], list[RelaxPair]]:
    """Pairs to train on, and of held-out formulas; kept in the work folder."""
    sets = []
    for name, seed, each in (("train", 2, PAIRS_EACH), ("held", 1, 1)):
        path = work / f"pairs_{name}.jsonl"
        if not path.exists():
            library = _library(train, work)
            held = [r for r in encoded_tables(train, work / "encoded") if is_held_out(r.formula)]
            write_pairs(path, build_pairs(library if name == "train" else held, library, seed, each))
        sets.append(read_pairs(path))
    return sets[0], sets[1]


def _volumes(train: Sequence[Path], work: Path) -> np.ndarray:
    path = work / "element_volumes.json"
    if not path.exists():
        write_json(path, elemental_volumes(_library(train, work)))
    return np.array(read_json(path))


@main.command()
@tables_option("--train", "Structure tables to learn from.")
@folder_option("--work", "Folder for everything unfinished.")
@folder_option("--output", "Folder of the model, resources/models/deeprelax.")
@click.option(
    "--members", default=2, show_default=True, type=click.IntRange(1), help="Networks in the ensemble."
)
@click.option("--settings", default="shipped", show_default=True, type=click.Choice(sorted(TRAININGS)))
@click.option("--minutes", type=float, help="Stop after this time, to go on later.")
@click.option("--epochs", type=click.IntRange(1), help="Epochs instead of the setting's.")
@click.option(
    "--own-pairs",
    type=click.Path(path_type=Path),
    help="Learn from these too: a parquet table, or a folder of unrelaxed CIF files.",
)
@click.option("--own-relaxed", type=click.Path(path_type=Path), help="Folder of the relaxed CIF files.")
@click.option(
    "--pools",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Learn from our own candidates too: what the stage pool wrote, with material ids as formula ids.",
)
def train(
    train: tuple[Path, ...],
    work: Path,
    output: Path,
    members: int,
    settings: str,
    minutes: float | None,
    epochs: int | None,
    own_pairs: Path | None,
    own_relaxed: Path | None,
    pools: tuple[Path, ...],
) -> None:
    """Train an ensemble."""
    pairs, held = pair_sets(train, work)
    if own_pairs is not None:
        pairs = pairs + read_own_pairs(own_pairs, own_relaxed)
    if pools:
        known = read_structures(train, MAX_ATOMS)
        true = {r.material_id: r.crystal for r in known if not is_held_out(r.formula)}
        pairs = pairs + candidate_pairs([p for f in pools for p in read_records(f, CandidatePool)], true)
    training = _with_epochs(TRAININGS[settings], epochs)
    keep_going = time_limit(minutes)
    networks = []
    for seed in range(1, members + 1):
        own = replace(training, loop=replace(training.loop, seed=seed))
        folder = work / f"member{seed}"
        network = train_member(pairs, held[:CURVE_PAIRS], _volumes(train, work), own, folder, keep_going)
        if network is None:
            raise UserError(f"time is up in member {seed}; run the same command again to go on")
        networks.append(network.cpu().eval())
    save_model(output / WEIGHTS, RelaxModel(output.name, tuple(networks), training.graph))
    _copy_curves(output, [work / f"member{seed}" / "curve.csv" for seed in range(1, members + 1)])


def _with_epochs(training: RelaxTraining, epochs: int | None) -> RelaxTraining:
    return training if epochs is None else replace(training, loop=replace(training.loop, epochs=epochs))


def _copy_curves(output: Path, curves: Sequence[Path]) -> None:
    rows = [
        {"phase": f"member {k}", **row} for k, path in enumerate(curves, start=1) for row in read_csv(path)
    ]
    columns = list(rows[0])
    write_csv(output / "curve.csv", columns, [[r[c] for c in columns] for r in rows])


def _test_pairs(train: Sequence[Path], test: Path, work: Path) -> list[RelaxPair]:
    """Pairs of crystals whose formulas are in no training table, held-out ones included."""
    path = work / f"pairs_{test.stem}.jsonl"
    if not path.exists():
        seen = {r.formula for r in encoded_tables(train, work / "encoded")}
        rows = [r for r in encoded_tables([test], work / "encoded") if r.formula not in seen]
        write_pairs(path, build_pairs(rows, _library(train, work), 1, 1))
    return read_pairs(path)


_test_option = click.option(
    "--test",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Structure table to judge on.",
)


@main.command()
@tables_option("--train", "Structure tables that were learned from.")
@_test_option
@folder_option("--work", "Folder for everything unfinished.")
@folder_option("--output", "Folder of the model to judge; gets metrics.json.")
def evaluate(train: tuple[Path, ...], test: Path, work: Path, output: Path) -> None:
    """Judge the model on pairs of unseen formulas: against the Dummy, and against M3GNet in accuracy and time."""
    from mapcsp.relax.backends import load_potential

    model = load_model(output / WEIGHTS, output.name)
    pairs = _test_pairs(train, test, work)
    figures: dict = judge(model, pairs)
    potential = load_potential("m3gnet", "cpu", None)
    figures |= judge_against_potential(
        model, pairs[:TIMED_PAIRS], potential, RelaxSettings(potential="m3gnet")
    )
    figures |= {
        "members": len(model.members),
        "parameters": sum(p.numel() for m in model.members for p in m.parameters()),
        "split": [test.stem],
        "trained_on": [t.stem for t in train],
        "commit": current_commit(),
    }
    write_json(output / "metrics.json", figures | _baseline_figures(output))


def _baseline_figures(model: Path) -> dict:
    """Figures of PaiNN for metrics.json, none before it was trained."""
    if not (model / "painn.json").exists():
        return {}
    return {f"{k}_painn": v for k, v in read_json(model / "painn.json").items()}


@main.command()
@tables_option("--train", "Structure tables to learn from.")
@_test_option
@folder_option("--work", "Folder for everything unfinished.")
@folder_option("--output", "Folder of the model; gets ablations.json.")
@click.option(
    "--epochs", default=2, show_default=True, type=click.IntRange(1), help="Epochs of each network."
)
@click.option("--minutes", type=float, help="Stop after this time, to go on later.")
def ablate(
    train: tuple[Path, ...], test: Path, work: Path, output: Path, epochs: int, minutes: float | None
) -> None:
    """Train one short network for each ablation (Vanilla, P, U, both) and a direct one, and judge them alike.

    Each learns from every sixth crystal: enough to compare them, in minutes.
    """
    everything, held = pair_sets(train, work)
    # Every sixth crystal.
    chosen = set(sorted({p.id.partition("<")[0] for p in everything})[::ABLATION_SHARE])
    pairs = [p for p in everything if p.id.partition("<")[0] in chosen]
    judged = _test_pairs(train, test, work)[:ABLATION_PAIRS]
    keep_going = time_limit(minutes)
    found = {}
    for name, switches in ABLATIONS.items():
        training = _with_epochs(SHIPPED, epochs)
        training = replace(training, network=replace(training.network, **switches))
        folder = work / f"ablation_{name}"
        network = train_member(pairs, held[:CURVE_PAIRS], _volumes(train, work), training, folder, keep_going)
        if network is None:
            raise UserError(f"time is up in ablation {name}; run the same command again to go on")
        found[name] = judge(RelaxModel(name, (network.cpu().eval(),), training.graph), judged)
    write_json(output / "ablations.json", {"epochs": epochs, "crystals": len(chosen), **found})


@main.command()
@tables_option("--train", "Structure tables to learn from.")
@_test_option
@folder_option("--work", "Folder for everything unfinished.")
@folder_option("--output", "Folder of the model; gets painn.json, and its figures in metrics.json.")
@click.option("--minutes", type=float, help="Stop after this time, to go on later.")
def baseline(train: tuple[Path, ...], test: Path, work: Path, output: Path, minutes: float | None) -> None:
    """Train SchNetPack's PaiNN as the shipped members were trained, and judge it on the same pairs.

    Needs the extra `painn`.
    """
    library_painn(PAINN_NETWORK)  # says at once that the library is missing
    pairs, held = pair_sets(train, work)
    training = replace(SHIPPED, network=PAINN_NETWORK)
    arguments = pairs, held[:CURVE_PAIRS], _volumes(train, work), training, work / "painn"
    network = train_member(*arguments, time_limit(minutes), LibraryPaiNN)
    if network is None:
        raise UserError("time is up; run the same command again to go on")
    model = RelaxModel("painn", (network.cpu().eval(),), training.graph)
    errors = judge_answers(model, _test_pairs(train, test, work))
    write_json(output / "painn.json", {"parameters": n_parameters(network), **errors})
    if (output / "metrics.json").exists():
        write_json(output / "metrics.json", read_json(output / "metrics.json") | _baseline_figures(output))


@main.command()
@folder_option("--model", "Folder of the model; gets card.md.")
def card(model: Path) -> None:
    """Write the model's card from its figures; nothing in it is typed by hand."""
    write_card(model)


if __name__ == "__main__":
    run_command(main)

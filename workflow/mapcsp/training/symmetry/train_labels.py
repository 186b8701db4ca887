"""Trains the symmetry network on a memory of known crystals (`make train`).

A formula's own crystals are hidden from it while it is trained, as they will be at prediction, so that examples and
network learn to share the work.
"""

from __future__ import annotations

import copy
import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from mapcsp.provenance import value_hash
from mapcsp.symmetry.candidates import candidate_class, slot_elements
from mapcsp.symmetry.cells import cell_shape
from mapcsp.symmetry.memory import LabelMemory
from mapcsp.symmetry.network import ClassTensors, NetworkShape, SymmetryNetwork, class_tensors
from mapcsp.training.checkpoints import Reached, read_checkpoint, write_checkpoint
from mapcsp.training.encoded import EncodedKnown
from mapcsp.training.geometries import formula_hash, shares, volume_per_atom_ang3
from mapcsp.training.split import is_held_out


@dataclass(frozen=True)
class SymmetryTraining:
    """Settings of a training run.

    batch: formulas an optimiser step. epochs: passes over the formulas. table_decay: weight decay of the vectors that one
    label or role owns; without it they learn the training set by heart (label top-1 of unseen formulas .70 -> .67).
    hypothetical_weight: weight of crystals that are not from the Materials Project. ema_decay: the network that is kept is
    a running mean of the trained one; on formulas kept from training it is worth as much as two networks together.
    """

    epochs: int = 4
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 2e-2
    table_decay: float = 2.0
    hypothetical_weight: float = 0.3
    ema_decay: float = 0.998
    seed: int = 1
    max_atoms: int = 24


@dataclass(frozen=True, eq=False)
class TrainingClass:
    """Queries of one stoichiometry. numbers: (q, s). target: (q,), candidate. formula: (q,). cell_target: (q, 6)."""

    amounts: torch.Tensor
    known: ClassTensors
    numbers: torch.Tensor
    target: torch.Tensor
    formula: torch.Tensor
    cell_target: torch.Tensor
    weight: torch.Tensor


def is_known_material(row: EncodedKnown) -> bool:
    """Whether a crystal is from the Materials Project, not a hypothetical one made by substitution."""
    return row.material_id.startswith(("mp-", "mvc-"))


def prepare_classes(
    memory: LabelMemory, rows: Sequence[EncodedKnown], max_atoms: int, hypothetical_weight: float = 1.0
) -> list[TrainingClass]:
    """Turn encoded crystals into queries with the index of their right candidate; rows without one are left out."""
    grouped: dict[tuple[int, ...], list[tuple[EncodedKnown, tuple[str, ...]]]] = defaultdict(list)
    for row in rows:
        counts = row.anonymous.counts
        gcd = int(np.gcd.reduce(counts))
        slots = slot_elements(tuple((e, c // gcd) for e, c in zip(row.elements, counts)))
        grouped[slots.amounts].append((row, slots.elements))
    index_of = {label.key: i for i, label in enumerate(memory.labels)}
    volumes = memory.element_volume_ang3.astype(float)
    classes = []
    for amounts in sorted(grouped):
        found = candidate_class(memory, amounts, max_atoms)
        if found is None:
            continue
        lookup = {
            (int(label), tuple(roles)): i
            for i, (label, roles) in enumerate(zip(found.label, found.role_of_slot.tolist()))
        }
        numbers, targets, formulas, cells, weights = [], [], [], [], []
        for row, elements in grouped[amounts]:
            label = index_of.get(row.anonymous_key)
            if label is None:
                continue
            roles = tuple(row.elements.index(e) for e in elements)
            equivalent = {tuple(p[r] for r in roles) for p in memory.symmetric_roles[label]}
            target = next((lookup[label, e] for e in sorted(equivalent) if (label, e) in lookup), None)
            if target is None:
                continue
            numbers.append([int(n) for n in slot_elements(tuple(zip(elements, amounts))).numbers])
            targets.append(target)
            formulas.append(formula_hash(row.formula))
            weights.append(1.0 if is_known_material(row) else hypothetical_weight)
            ratio = np.log(volume_per_atom_ang3(row) / (shares(row) @ volumes))
            cells.append([ratio, *cell_shape(row.cell)])
        if not targets:
            continue
        # Polymorphs of one formula share its weight, so that no composition counts more than another.
        _, inverse, repeats = np.unique(formulas, return_inverse=True, return_counts=True)
        classes.append(
            TrainingClass(
                torch.tensor(amounts, dtype=torch.float32),
                class_tensors(memory, found),
                torch.tensor(numbers),
                torch.tensor(targets),
                torch.tensor(formulas),
                torch.tensor(np.array(cells), dtype=torch.float32),
                torch.as_tensor(repeats[inverse] ** -0.5 * np.array(weights), dtype=torch.float32),
            )
        )
    return classes


def _batches(
    classes: list[TrainingClass], batch: int, generator: np.random.Generator
) -> list[list[tuple[int, np.ndarray]]]:
    """Steps of an epoch: each a list of (class, queries) that together hold about `batch` queries."""
    pieces = []
    for index, group in enumerate(classes):
        order = generator.permutation(len(group.target))
        size = max(8, min(batch, int(6e5 / max(1, len(group.known.example_candidate)))))
        pieces += [(index, order[i : i + size]) for i in range(0, len(order), size)]
    generator.shuffle(pieces)
    steps: list[list[tuple[int, np.ndarray]]] = [[]]
    held = 0
    for piece in pieces:
        if held >= batch:
            steps.append([])
            held = 0
        steps[-1].append(piece)
        held += len(piece[1])
    return steps


def _losses(network: SymmetryNetwork, group: TrainingClass, rows: np.ndarray):
    """Sum of the label loss over queries; a query whose label nobody else has gives none. Returns (loss, n, hits)."""
    index = torch.as_tensor(rows)
    scores = network.score(group.numbers[index], group.amounts, group.known, group.formula[index])
    target = group.target[index]
    usable = torch.isfinite(scores.logits[torch.arange(len(index)), target])
    if not usable.any():
        return None
    logits, target, weight = scores.logits[usable], target[usable], group.weight[index][usable]
    label_loss = (nn.functional.cross_entropy(logits, target, reduction="none") * weight).sum()
    same_z = group.known.z[None] == group.known.z[target][:, None]
    given_z = logits.masked_fill(~same_z, -torch.inf)
    label_loss = label_loss + (nn.functional.cross_entropy(given_z, target, reduction="none") * weight).sum()
    hits = (given_z.argmax(1) == target).sum()
    return label_loss, len(target), int(hits)


def train_symmetry(
    memory: LabelMemory,
    rows: Sequence[EncodedKnown],
    settings: SymmetryTraining,
    checkpoint: Path,
    curve: Path,
    progress: bool = True,
) -> SymmetryNetwork:
    """Train the network; resumes from `checkpoint` if it is there and of the same training, and writes it after each epoch.

    curve: CSV of CURVE_COLUMNS. The running mean of the epoch with the best likelihood of the held-out formulas' labels is
    returned.
    """
    torch.manual_seed(settings.seed)
    network = SymmetryNetwork(memory, NetworkShape())
    mean = copy.deepcopy(network).eval()
    held_out = [r for r in rows if is_held_out(r.formula) and is_known_material(r)]
    learned = [r for r in rows if not is_held_out(r.formula)]
    classes = prepare_classes(memory, learned, settings.max_atoms, settings.hypothetical_weight)
    judged = prepare_classes(memory, held_out, settings.max_atoms)
    optimiser = torch.optim.AdamW(_parameter_groups(network, settings), lr=settings.learning_rate)
    generator = np.random.default_rng(settings.seed)
    n_steps = len(_batches(classes, settings.batch, np.random.default_rng(0))) * settings.epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=int(n_steps * 1.05) + 10, pct_start=0.1
    )
    first, n_steps_done, best, best_state = 0, 0, -np.inf, mean.state_dict()
    networks = {"network": network, "mean": mean}
    key = value_hash([asdict(settings), [r.material_id for r in rows]])
    reached = read_checkpoint(checkpoint, key, networks, optimiser, schedule)
    if reached is None:
        # A curve is appended to; that of an earlier training would go before this one's.
        curve.unlink(missing_ok=True)
    else:
        first, n_steps_done, best, best_state = (
            reached.epoch,
            reached.steps,
            reached.best,
            reached.best_network,
        )
        for _ in range(first):
            _batches(classes, settings.batch, generator)
    for epoch in range(first, settings.epochs):
        network.train()
        total, seen, right = 0.0, 0, 0
        steps = _batches(classes, settings.batch, generator)
        for step in tqdm(
            steps, desc=f"epoch {epoch + 1}/{settings.epochs}", mininterval=20, disable=not progress
        ):
            optimiser.zero_grad()
            for index, queries in step:
                found = _losses(network, classes[index], queries)
                if found is None:
                    continue
                loss, count, hits = found
                (loss / settings.batch).backward()
                total, seen, right = total + loss.item(), seen + count, right + hits
            torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
            optimiser.step()
            schedule.step()
            n_steps_done += 1
            _update_mean(mean, network, settings.ema_decay, n_steps_done)
        likelihood, top1, top5 = _judge(mean, judged)
        append_curve(curve, CURVE_COLUMNS, epoch + 1, total / seen, right / seen, -likelihood, top1, top5)
        if likelihood > best:
            best = likelihood
            best_state = {k: v.clone() for k, v in mean.state_dict().items()}
        reached = Reached(epoch + 1, n_steps_done, best, best_state)
        write_checkpoint(checkpoint, key, reached, networks, optimiser, schedule)
    mean.load_state_dict(best_state)
    return mean


@torch.no_grad()
def _update_mean(mean: SymmetryNetwork, network: SymmetryNetwork, decay: float, step: int) -> None:
    """Move the running mean towards the network; faster in the first steps, which start from noise."""
    share = 1 - min(decay, (1 + step) / (10 + step))
    for kept, current in zip(mean.parameters(), network.parameters()):
        kept.lerp_(current, share)


def _parameter_groups(network: SymmetryNetwork, settings: SymmetryTraining) -> list[dict]:
    tables: list[nn.Parameter] = []
    matrices: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        if name.startswith(("vectors.role.", "vectors.label.", "label_bias.")):
            tables.append(parameter)
        else:
            (matrices if parameter.ndim > 1 else vectors).append(parameter)
    return [
        {"params": tables, "weight_decay": settings.table_decay},
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]


@torch.inference_mode()
def _judge(network: SymmetryNetwork, judged: list[TrainingClass]) -> tuple[float, float, float]:
    """Mean ln P(label | formula, z), label top-1 and top-5 on formulas kept from training."""
    ranks, logs = [], []
    for group in judged:
        scores = network.score(group.numbers, group.amounts, group.known, group.formula)
        rows = torch.arange(len(group.target))
        usable = torch.isfinite(scores.logits[rows, group.target])
        same_z = group.known.z[None] == group.known.z[group.target][:, None]
        logits = scores.logits.masked_fill(~same_z, -torch.inf)[usable]
        target = group.target[usable]
        right = torch.arange(len(target)), target
        ranks.append((logits > logits[right][:, None]).sum(1))
        logs.append(torch.log_softmax(logits, 1)[right])
    rank = torch.cat(ranks)
    return float(torch.cat(logs).mean()), float((rank < 1).float().mean()), float((rank < 5).float().mean())


CURVE_COLUMNS = ("epoch", "loss", "top1_trained", "loss_held_out", "top1_held_out", "top5_held_out")


def append_curve(curve: Path, columns: Sequence[str], epoch: int, *values: float) -> None:
    """Add a row to a training curve (CSV), with its header first."""
    new = not curve.exists()
    curve.parent.mkdir(parents=True, exist_ok=True)
    with open(curve, "a", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        if new:
            writer.writerow(columns)
        writer.writerow([epoch, *(f"{v:.5f}" for v in values)])

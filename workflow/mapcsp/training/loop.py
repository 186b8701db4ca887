"""One training loop for the map networks and DeepRelax: resumable after a kill, with the same result as without one."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from mapcsp.provenance import derive_seed, value_hash
from mapcsp.store import read_csv, read_tensors, write_csv, write_tensors


@dataclass(frozen=True)
class LoopConfig:
    """How a network is trained.

    optimiser, learning_rate, schedule: `constant` as in the papers, or `cosine` with a short warm-up, down to a
    hundredth. ema_decay: of the averaged weights that are kept, 0 for the last weights. clip_norm: of gradients, 0 for none.
    precision: of products on a CPU; `bfloat16` takes half the time where the processor has it. CUDA always uses it.
    """

    epochs: int
    learning_rate: float
    optimiser: Literal["adam", "adamw"] = "adam"
    schedule: Literal["constant", "cosine"] = "constant"
    weight_decay: float = 0.0
    ema_decay: float = 0.0
    clip_norm: float = 0.0
    warmup_steps: int = 200
    save_every_s: float = 60.0
    seed: int = 1
    precision: Literal["float32", "bfloat16"] = "float32"


@dataclass(frozen=True, eq=False)
class Task:
    """What is trained: batches of an epoch, the loss of one, and figures on held-out crystals.

    batches: epoch -> opaque descriptions of its batches; load: (description, seed) -> batch; loss: (model, batch) -> scalar
    tensor; evaluate: model -> figures for the curve.
    """

    batches: Callable[[int], Sequence[Any]]
    load: Callable[[Any, int], Any]
    loss: Callable[[nn.Module, Any], torch.Tensor]
    evaluate: Callable[[nn.Module], dict[str, float]]


def pick_device() -> torch.device:
    """CUDA when there, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def seed_torch(seed: int) -> None:
    """Seed torch's generator, so that new networks start from the same values."""
    torch.manual_seed(seed)


def learning_rate_at(config: LoopConfig, step: int, n_steps: int) -> float:
    """Learning rate of one step out of n_steps."""
    if config.schedule == "constant":
        return config.learning_rate
    warm = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    return config.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / n_steps)))


def train(
    model: nn.Module,
    task: Task,
    config: LoopConfig,
    folder: Path,
    keep_going: Callable[[], bool] | None = None,
) -> bool:
    """Train until config.epochs, from the folder's checkpoint if it has one of the same config.

    model: on its device; holds the final (averaged) weights afterwards. folder: gets `checkpoint.safetensors`
    and `curve.csv`. keep_going: asked after every step; False ends early, with a checkpoint (a time limit).
    Returns whether training is complete.
    """
    run = _Run(model, config, folder)
    while run.epoch < config.epochs:
        batches = task.batches(run.epoch)
        if run.index == 0:
            run.loss_sum = 0.0
        bar = tqdm(
            total=len(batches), initial=run.index, desc=f"epoch {run.epoch + 1}/{config.epochs}", leave=False, mininterval=5,
            disable=not sys.stderr.isatty(),
        )  # fmt: skip
        while run.index < len(batches):
            total = config.epochs * len(batches)
            rate = learning_rate_at(config, run.epoch * len(batches) + run.index, total)
            batch = task.load(batches[run.index], derive_seed(config.seed, run.epoch, run.index))
            run.step(task.loss, batch, rate)
            bar.update()
            if keep_going is not None and not keep_going():
                run.save()
                return False
            if time.monotonic() - run.saved_at > config.save_every_s:
                run.save()
        bar.close()
        run.end_epoch(len(batches), task)
    run.use_average()
    return True


class _Run:
    """State of one training: network, optimiser, average, position."""

    def __init__(self, model: nn.Module, config: LoopConfig, folder: Path) -> None:
        self.model, self.config = model, config
        self.checkpoint, self.curve = folder / "checkpoint.safetensors", folder / "curve.csv"
        kind = torch.optim.AdamW if config.optimiser == "adamw" else torch.optim.Adam
        self.optimiser = kind(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        self.average = {k: v.detach().clone() for k, v in model.state_dict().items()}
        self.epoch = self.index = self.steps = 0
        self.loss_sum = 0.0
        self.rows: list[dict[str, float]] = []
        self.key = value_hash({k: v for k, v in asdict(config).items() if k != "save_every_s"})
        self.saved_at = time.monotonic()
        if self.checkpoint.exists():
            self._load()

    def step(self, loss_of: Callable[[nn.Module, Any], torch.Tensor], batch: Any, rate: float) -> None:
        """One step of the optimiser and of the average."""
        self.model.train()
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        device = next(self.model.parameters()).device.type
        short = device == "cuda" or self.config.precision == "bfloat16"
        with torch.autocast(device, dtype=torch.bfloat16, enabled=short):
            loss = loss_of(self.model, batch)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"epoch {self.epoch + 1}, batch {self.index + 1}: the loss is {loss.item()}"
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if self.config.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimiser.step()
        self.steps += 1
        self.index += 1
        self.loss_sum += float(loss.detach())
        # Early on a long average would remember the random start.
        decay = min(self.config.ema_decay, self.steps / (self.steps + 10))
        with torch.no_grad():
            for name, value in self.model.state_dict().items():
                if self.config.ema_decay and value.is_floating_point():
                    self.average[name].lerp_(value, 1 - decay)
                else:
                    self.average[name].copy_(value)

    def end_epoch(self, n_batches: int, task: Task) -> None:
        """Judge the average, write the curve and a checkpoint."""
        current = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.use_average()
        self.model.eval()
        with torch.no_grad():
            figures = task.evaluate(self.model)
        self.model.load_state_dict(current)
        self.epoch, self.index = self.epoch + 1, 0
        row = {"epoch": float(self.epoch), "train_loss": self.loss_sum / max(n_batches, 1), **figures}
        self.loss_sum = 0.0
        self.rows.append(row)
        columns = list(self.rows[0])
        write_csv(self.curve, columns, [[r[c] for c in columns] for r in self.rows])
        self.save()
        print("  ".join(f"{k} {v:.4g}" for k, v in row.items()), flush=True)

    def use_average(self) -> None:
        """Put the averaged weights into the network."""
        self.model.load_state_dict(self.average)

    def save(self) -> None:
        """Write everything that a resumed run needs."""
        tensors: dict[str, np.ndarray] = {}
        for name, value in self.model.state_dict().items():
            tensors[f"model/{name}"] = value.cpu().numpy()
            tensors[f"average/{name}"] = self.average[name].cpu().numpy()
        names = [n for n, _ in self.model.named_parameters()]
        for index, state in self.optimiser.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"optimiser/{names[index]}/{key}"] = value.cpu().numpy()
        tensors["position"] = np.array([self.epoch, self.index, self.steps])
        tensors["loss_sum"] = np.array([self.loss_sum])
        write_tensors(self.checkpoint, tensors, {"config": self.key})
        self.saved_at = time.monotonic()

    def _load(self) -> None:
        tensors, metadata = read_tensors(self.checkpoint)
        if metadata.get("config") != self.key:
            print(f"{self.checkpoint} is of another training; starting anew", flush=True)
            return
        device = next(self.model.parameters()).device
        torch_tensors = {k: torch.from_numpy(v.copy()).to(device) for k, v in tensors.items()}
        self.model.load_state_dict({k[6:]: v for k, v in torch_tensors.items() if k.startswith("model/")})
        self.average = {k[8:]: v for k, v in torch_tensors.items() if k.startswith("average/")}
        names = [n for n, _ in self.model.named_parameters()]
        state = self.optimiser.state_dict()
        for index, name in enumerate(names):
            prefix = f"optimiser/{name}/"
            found = {k[len(prefix) :]: v for k, v in torch_tensors.items() if k.startswith(prefix)}
            if found:
                state["state"][index] = {k: v.cpu() if k == "step" else v for k, v in found.items()}
        self.optimiser.load_state_dict(state)
        self.epoch, self.index, self.steps = (int(v) for v in tensors["position"])
        self.loss_sum = float(tensors["loss_sum"][0])
        if self.curve.exists():
            rows = read_csv(self.curve)
            self.rows = [{k: float(v) for k, v in row.items()} for row in rows][: self.epoch]

"""Two processes over gloo share a batch as one process has it; and a process that is killed loses nothing."""

from __future__ import annotations

import csv
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

# The run of all processes here: a tiny ELF, its whole loss, Muon, warm-up. Arguments: out, steps, kill after step.
PROGRAM = """
import os, signal, sys
from pathlib import Path
import numpy as np
import torch
from elf_model.config import ElfConfig
from elf_model.encoder import TableEncoder
from elf_model.network import build_network
from elf_model.objective import elf_objective
from elf_model.training.loop import fit
from elf_model.training.ranks import ranks_of_environment
from elf_model.training.recipe import TrainRecipe

out, steps, kill = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(1)
config = ElfConfig(vocab_size=11, latent_dim=6, hidden=16, depth=1, heads=2, bottleneck_dim=6, max_length=10,
                   label_drop_prob=0.3)
encoder = TableEncoder(torch.randn(11, 6, generator=torch.Generator().manual_seed(0)))
random = np.random.default_rng(0)
lengths = random.integers(4, 11, (30, 1))
columns = {
    "ids": random.integers(0, 11, (30, 10)),
    "attention_mask": np.arange(10) < lengths,
    "prefix_mask": (np.arange(10) < 3) & (np.arange(30)[:, None] >= 0),
}
recipe = TrainRecipe.from_dict({
    "steps": steps, "batch_size": 8, "seed": 3, "grad_accum": 2, "log_every": 1, "save_every": 2,
    "optimizer": {"name": "muon", "lr": 0.01, "warmup_steps": 2},
})

def on_step(step, row):
    if step == kill:
        os.kill(os.getpid(), signal.SIGKILL)

ranks = ranks_of_environment(cpu=True)
net = build_network(config, seed=int(os.environ.get("NETWORK_SEED", "0")))
fit(net, elf_objective(encoder, config), columns, recipe, out, in_out=("proj_kernel", "unembed_kernel"),
    ranks=ranks, on_step=on_step)
if ranks.count > 1:
    ranks.close()
"""


def start(out: Path, *, steps: int, kill: int = 0, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(out), str(steps), str(kill)]
    plain = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    return subprocess.Popen(
        command, env={**plain, "OMP_NUM_THREADS": "1", **environment}, stderr=subprocess.PIPE, text=True
    )


def here(out: Path, monkeypatch: pytest.MonkeyPatch, *, steps: int) -> None:
    """The same run in this process."""
    monkeypatch.setattr(sys, "argv", ["program", str(out), str(steps), "0"])
    exec(PROGRAM, {})


def together(out: Path, *, steps: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    started = [start(out, steps=steps, RANK=str(rank), LOCAL_RANK=str(rank), **shared) for rank in (0, 1)]
    for process in started:
        said = process.communicate(timeout=120)[1]
        assert process.returncode == 0, said


def losses(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open() as stream:
        return list(csv.DictReader(stream))


def weights(out: Path) -> dict[str, torch.Tensor]:
    state = torch.load(out / "checkpoint.pt", weights_only=True)
    return {**state["params"], **{f"ema.{name}": value for name, value in state["ema"].items()}}


def test_two_processes_train_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("accelerate")
    together(tmp_path / "two", steps=3)
    here(tmp_path / "one", monkeypatch, steps=3)
    alone, shared = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(alone) == len(shared) == 3
    for a, b in zip(alone, shared, strict=True):
        for name in ("loss", "grad_norm", "mse", "cross_entropy", "tokens"):
            assert (a[name] == "") == (b[name] == ""), name
            if a[name]:
                assert float(b[name]) == pytest.approx(float(a[name]), rel=1e-6 if name == "loss" else 1e-5), name
    expected, found = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all(torch.allclose(value, found[name], atol=1e-4) for name, value in expected.items())
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["checkpoint.pt", "log.csv"]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_run_resumes_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = start(tmp_path / "cut", steps=5, kill=3)
    killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert torch.load(tmp_path / "cut" / "checkpoint.pt", weights_only=True)["step"] == 2
    here(tmp_path / "cut", monkeypatch, steps=5)
    here(tmp_path / "whole", monkeypatch, steps=5)
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    assert [row["step"] for row in losses(tmp_path / "cut")] == ["1", "2", "3", "4", "5"]

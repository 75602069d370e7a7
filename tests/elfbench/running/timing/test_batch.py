"""One batch size of one model: which rows run, what is timed, what a hook counts. Fakes and a clock that is told the time."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elfbench.core.errors import ConfigError
from elfbench.core.seeds import row_seeds
from elfbench.registry import catalog
from elfbench.running.timing import setting as settings
from elfbench.running.timing.batch import Run, as_columns, time_batch
from elfbench.spec.cell import Cell, Timing, sample_cell, timing_cell
from elfbench.spec.prompts import PromptSet
from elfbench.spec.sampling import CountedModel, SampleBatch, SampleRequest
from elfbench.spec.suite import SuiteTiming

NAMES = [name for name in catalog.models().names() if not name.endswith(":")]


@pytest.fixture(autouse=True)
def _no_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collecting the garbage of a whole test run takes longer than the tests."""
    monkeypatch.setattr(gc, "collect", lambda: 0)


class Clock:
    """Tells the seconds that the model says it takes."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Fake:
    """Run k takes k + 1 seconds and generates k + 1 tokens a row, of a network that doubles the batch for guidance."""

    clock: Clock
    said: int = 2
    net: torch.nn.Linear = field(default_factory=lambda: torch.nn.Linear(4, 4, bias=False))
    requests: list[SampleRequest] = field(default_factory=list)
    card: Any = None
    tokenizer: Any = None

    @property
    def counted(self) -> torch.nn.Module:
        return self.net

    def sample(self, request: SampleRequest) -> SampleBatch:
        self.requests.append(request)
        rows, length = len(request.rows), len(self.requests)
        with torch.no_grad():
            self.net(torch.ones(2 * rows, 4))
        self.clock.now += length
        full = np.full(rows, length)
        return SampleBatch(
            tokens=np.zeros((rows, 40), dtype=np.int64),
            lengths=full,
            texts=("",) * rows,
            raw_texts=("",) * rows,
            nfe=np.full(rows, self.said),
            positions=np.full(rows, 2),
            seconds=0.0,
        )


def _cell(batch: int, warmup: int = 1, **changes: Any) -> Cell:
    card = catalog.models().get("mdlm-oracle").card
    sample = sample_cell(card, length=8, steps=2, root_seed=3, options={}, **changes)
    return timing_cell(sample, Timing(device="x", batch=batch, threads=1, torch="2", warmup=warmup))


def test_warm_up_is_left_out_and_the_clock_is_read_around_each_run() -> None:
    model = Fake(clock := Clock())
    found = time_batch(model, _cell(3, warmup=2), 3, clock=clock)
    assert [run.seconds for run in found.runs] == [3.0, 4.0, 5.0]
    assert [run.tokens for run in found.runs] == [9, 12, 15]
    assert [run.nfe for run in found.runs] == [6, 6, 6]
    assert [run.passes for run in found.runs] == [6, 6, 6]  # both halves of the doubled batch
    assert [run.flops.total for run in found.runs] == [2 * 6 * 4 * 4] * 3


def test_every_run_has_rows_of_its_own_and_watched_ones_have_those_of_a_timed_one() -> None:
    model = Fake(clock := Clock())
    time_batch(model, _cell(3), 2, clock=clock)
    rows = [request.rows for request in model.requests]
    assert rows[:3] == [(0, 1, 2), (3, 4, 5), (6, 7, 8)]
    assert rows[3:] == [(6, 7, 8), (3, 4, 5)]  # memory on the last, FLOPs on the first: all did the same work
    assert [request.seeds for request in model.requests[:3]] == [row_seeds(3, k, k + 3) for k in (0, 3, 6)]
    assert {(request.length, request.steps) for request in model.requests} == {(8, 2)}


def test_runs_of_other_work_have_their_own_flops() -> None:
    class Uneven(Fake):
        def sample(self, request: SampleRequest) -> SampleBatch:
            batch = super().sample(request)
            longer = request.rows[0] == 1
            if longer:
                with torch.no_grad():
                    self.net(torch.ones(2, 4))
            return SampleBatch(
                **{name: getattr(batch, name) for name in batch.__slots__} | {"nfe": batch.nfe + 2 * longer}
            )

    model = Uneven(clock := Clock())
    found = time_batch(model, _cell(1, warmup=0), 3, clock=clock)
    assert [(run.nfe, run.passes, run.flops.total) for run in found.runs] == [(2, 2, 64), (4, 4, 128), (2, 2, 64)]


def test_a_small_prompt_set_begins_anew() -> None:
    model = Fake(clock := Clock())
    prompts = PromptSet("p", "prefix", ("a", "b"), ("", ""), draws=2)
    time_batch(model, _cell(3), 1, prompts=prompts, clock=clock)
    given = [[prompt.segments for prompt in request.prompts or ()] for request in model.requests]
    assert given[:2] == [[("a", 8), ("a", 8), ("b", 8)], [("b", 8), ("a", 8), ("a", 8)]]


def test_a_model_without_a_named_network_is_timed_but_neither_counted_nor_weighed() -> None:
    class Plain:
        card = tokenizer = None

        def __init__(self, inner: Fake) -> None:
            self.inner = inner

        def sample(self, request: SampleRequest) -> SampleBatch:
            return self.inner.sample(request)

    found = time_batch(Plain(Fake(clock := Clock())), _cell(2), 3, clock=clock)  # type: ignore[arg-type]
    assert [run.passes for run in found.runs] == [None] * 3
    assert found.runs[0].flops == (None, ("no network to look at",))
    columns = as_columns(found, _cell(2), 7.0)
    assert (columns["passes"], columns["flops"]) == ([None] * 3, [None] * 3)
    assert columns["flops_unseen"] == ["no network to look at"] * 3


def test_nothing_generated_and_no_time_passed_are_refused() -> None:
    class Mute(Fake):
        def sample(self, request: SampleRequest) -> SampleBatch:
            batch = super().sample(request)
            batch.lengths[:] = 0
            return batch

    with pytest.raises(ConfigError, match="nothing was generated"):
        time_batch(Mute(clock := Clock()), _cell(1), 3, clock=clock)
    with pytest.raises(ConfigError, match="no time passed"):
        time_batch(Fake(Clock()), _cell(1), 3, clock=lambda: 5.0)


def test_hooks_are_gone_afterwards_also_after_a_failure() -> None:
    model = Fake(clock := Clock())
    time_batch(model, _cell(1), 2, clock=clock)
    assert not model.net._forward_hooks
    broken = Fake(clock, net=torch.nn.Linear(3, 3))
    with pytest.raises(RuntimeError):
        time_batch(broken, _cell(1, warmup=0), 2, clock=clock)
    assert not broken.net._forward_hooks


@pytest.mark.parametrize("name", [name for name in NAMES if catalog.models().get(name).card.n_params])
def test_rows_through_the_network_are_what_entries_report(name: str) -> None:
    """Conformance asks this at batch 1; here rows leave a batch early and the rest goes on."""
    model = catalog.models().get(name).toy(0)
    assert isinstance(model, CountedModel)
    found = time_batch(model, _cell(5, warmup=0), 1)
    assert all(isinstance(run, Run) and run.passes == run.nfe > 0 and run.flops.total for run in found.runs)


def test_the_device_is_a_model_and_no_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Fast Chip 9 \nflags\t: fpu\n")
    monkeypatch.setattr(settings.sys, "platform", "linux")
    assert settings._processor(info) == "Fast Chip 9"
    assert settings._processor(tmp_path / "none") == settings.platform.machine()
    assert settings.device_name("mps").endswith(" (mps)")
    found = settings.timing_setting(SuiteTiming(batches=(1, 4), repeats=5, warmup=2), "cpu")
    assert found.batches == (1, 4)
    assert [timing.batch for timing in found.by_batch] == [1, 4]
    assert str(torch.__version__).startswith(found.by_batch[0].torch.partition("+")[0])
    assert found.describe() == {
        "measurement": "timing",
        "version": 1,
        "device": settings.device_name("cpu"),
        "threads": torch.get_num_threads(),
        "torch": found.by_batch[0].torch,
        "warmup": 2,
        "batches": [1, 4],
    }

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

from elfbench.running.timing import memory
from elfbench.running.timing.memory import RESIDENT, peak_of

_MB = 2**20


@pytest.fixture(autouse=True)
def _no_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collecting the garbage of a whole test run takes longer than the tests."""
    monkeypatch.setattr(gc, "collect", lambda: 0)


def _fill(megabytes: int) -> None:
    np.ones(megabytes * _MB // 8)


def test_growth_is_the_task_s_own_and_not_an_earlier_peak() -> None:
    _fill(96)
    found = peak_of(lambda: _fill(32), "cpu")
    if found.peak is None or found.before is None:
        pytest.skip("this system has no resettable high-water mark")
    assert found.kind == RESIDENT
    # The kernel's counters are exact to some dozens of pages a thread.
    assert 31 * _MB <= found.peak - found.before < 40 * _MB


def test_the_kernel_s_fields_are_read_after_the_mark_was_reset(tmp_path: Path) -> None:
    (tmp_path / "clear_refs").write_text("")
    status = tmp_path / "status"
    status.write_text("VmPeak:\t 9999 kB\nVmHWM:\t 900 kB\nVmRSS:\t 100 kB\n")

    def task() -> None:
        assert (tmp_path / "clear_refs").read_text() == "5"
        status.write_text("VmPeak:\t 9999 kB\nVmHWM:\t 300 kB\nVmRSS:\t 120 kB\n")

    assert memory._resident(task, tmp_path) == (100 * 1024, 300 * 1024, RESIDENT)


def test_where_the_system_does_not_tell_the_task_runs_and_there_is_no_number(tmp_path: Path) -> None:
    ran: list[str] = []
    assert memory._resident(lambda: ran.append("a"), tmp_path / "none") == (None, None, "unknown")
    assert memory._resident(lambda: ran.append("b"), tmp_path) == (None, None, "unknown")  # no status
    assert peak_of(lambda: ran.append("c"), "mps") == (None, None, "unknown")
    assert ran == ["a", "b", "c"]

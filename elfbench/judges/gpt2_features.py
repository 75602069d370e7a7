"""MAUVE's own featurizer: the state of the last token of GPT-2 large, at most 1,024 tokens, float32, 1,280 numbers.

Pillutla et al. 2021 (arXiv 2102.01454), appendix D, and the defaults of the package mauve-text. From the local cache alone.
"""

from __future__ import annotations

from elfbench.judges.encoder import LAST_MAX_TOKENS, Encoder, Reading
from elfbench.judges.hub import cached_folder
from elfbench.loading.model_folder import ModelFolder

HUB_ID = "openai-community/gpt2-large"
_FILES = "config.json tokenizer.json tokenizer_config.json model.safetensors"


def _folder() -> ModelFolder:
    return cached_folder("featurizer", "gpt2-large", HUB_ID, _FILES, "3.2 GB")


_READING = Reading("last", LAST_MAX_TOKENS)
GPT2_LARGE = Encoder("gpt2-large", f"gpt2-large ({_READING.words})", _READING, _folder)

"""MAUVE's own featurizer: the state of the last token of GPT-2 large, at most 1,024 tokens, float32, 1,280 numbers.

Pillutla et al. 2021 (arXiv 2102.01454), appendix D, and the defaults of the package mauve-text. From the local cache alone.
"""

from __future__ import annotations

from elfbench.core.errors import ConfigError, PrerequisiteError
from elfbench.judges.encoder import LAST_MAX_TOKENS, Encoder, Reading
from elfbench.loading.model_folder import ModelFolder, open_model_folder

HUB_ID = "openai-community/gpt2-large"


def _folder() -> ModelFolder:
    try:
        return open_model_folder(HUB_ID, key="featurizer")[0]
    except ConfigError as error:
        raise PrerequisiteError(
            "featurizer gpt2-large is not whole in the local Hugging Face cache",
            key="featurizer",
            found=f"{error.message}: {error.found}",
            remedy=f"hf download {HUB_ID} config.json tokenizer.json tokenizer_config.json model.safetensors (3.2 GB, "
            "once and online), or featurizer hf:FOLDER",
        ) from error


_READING = Reading("last", LAST_MAX_TOKENS)
GPT2_LARGE = Encoder("gpt2-large", f"gpt2-large ({_READING.words})", _READING, _folder)

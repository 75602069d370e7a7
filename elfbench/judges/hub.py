"""Judges of papers by their plain names, from the local Hugging Face cache alone: GPT-2 and GPT-2 large, the usual judge of gen-PPL."""

from __future__ import annotations

from elfbench.core.errors import ConfigError, PrerequisiteError
from elfbench.judges.causal import CausalJudge
from elfbench.judges.deferred import DeferredJudge
from elfbench.loading.model_folder import open_model_folder

_FILES = "config.json generation_config.json tokenizer.json tokenizer_config.json model.safetensors"


class HubJudge(DeferredJudge):
    """A `CausalJudge` whose files are looked for at first use. Nothing is downloaded: a missing one is an error with the line to type."""

    def __init__(self, name: str, hub_id: str, size: str) -> None:
        """`size`: of its weights, for the message."""
        self.name = self.title = name
        self.hub_id, self._size = hub_id, size

    def open(self) -> CausalJudge:
        """From the local cache, never from the network; `hf:FOLDER` with the same files has the same digest."""
        try:
            folder, _ = open_model_folder(self.hub_id, key="judge")
        except ConfigError as error:
            raise PrerequisiteError(
                f"judge {self.name} is not whole in the local Hugging Face cache",
                key="judge",
                found=f"{error.message}: {error.found}",
                remedy=f"hf download {self.hub_id} {_FILES} ({self._size}, once and online), or judge hf:FOLDER",
            ) from error
        return CausalJudge(folder, self.name, self.title)


GPT2 = HubJudge("gpt2", "openai-community/gpt2", "0.5 GB")
GPT2_LARGE = HubJudge("gpt2-large", "openai-community/gpt2-large", "3.2 GB")

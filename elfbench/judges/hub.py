"""Judges of papers by their plain names, from the local Hugging Face cache alone: GPT-2 and GPT-2 large, the usual judge of gen-PPL."""

from __future__ import annotations

from elfbench.core.errors import ConfigError, PrerequisiteError
from elfbench.judges.causal import CausalJudge
from elfbench.judges.deferred import DeferredJudge
from elfbench.loading.model_folder import ModelFolder, open_model_folder

_FILES = "config.json generation_config.json tokenizer.json tokenizer_config.json model.safetensors"


def cached_folder(key: str, name: str, hub_id: str, files: str, size: str) -> ModelFolder:
    """The model in the local cache. Raises PrerequisiteError with the line to type where it is not whole; key: judge or featurizer."""
    try:
        return open_model_folder(hub_id, key=key)[0]
    except ConfigError as error:
        raise PrerequisiteError(
            f"{key} {name} is not whole in the local Hugging Face cache",
            key=key,
            found=f"{error.message}: {error.found}",
            remedy=f"hf download {hub_id} {files} ({size}, once and online), or {key} hf:FOLDER",
        ) from error


class HubJudge(DeferredJudge):
    """A `CausalJudge` whose files are looked for at first use. Nothing is downloaded: a missing one is an error with the line to type."""

    def __init__(self, name: str, hub_id: str, size: str) -> None:
        """`size`: of its weights, for the message."""
        self.name = self.title = name
        self.hub_id, self._size = hub_id, size

    def open(self) -> CausalJudge:
        """From the local cache, never from the network; `hf:FOLDER` with the same files has the same digest."""
        return CausalJudge(cached_folder("judge", self.name, self.hub_id, _FILES, self._size), self.name, self.title)


GPT2 = HubJudge("gpt2", "openai-community/gpt2", "0.5 GB")
GPT2_LARGE = HubJudge("gpt2-large", "openai-community/gpt2-large", "3.2 GB")

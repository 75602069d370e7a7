"""Judges of papers by their plain names, from the local Hugging Face cache alone: GPT-2 and GPT-2 large, the usual judge of gen-PPL."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from elfbench.core.errors import ConfigError, PrerequisiteError
from elfbench.judges.causal import CausalJudge
from elfbench.judges.measuring import FastTokenizer
from elfbench.loading.model_folder import open_model_folder
from elfbench.spec.instruments import GradientRows, JudgedRows, Progress, ProtocolRows, RankedRows
from elfbench.spec.judging import JudgingProtocol

_FILES = "config.json generation_config.json tokenizer.json tokenizer_config.json model.safetensors"


class HubJudge:
    """A `CausalJudge` whose files are looked for at first use. Nothing is downloaded: a missing one is an error with the line to type."""

    def __init__(self, name: str, hub_id: str, size: str) -> None:
        """`size`: of its weights, for the message."""
        self.name = self.title = name
        self.hub_id, self._size = hub_id, size

    @property
    def digest(self) -> str:
        """That of the files, so that `hf:FOLDER` with the same files shares measurements. Raises PrerequisiteError without them."""
        return self._judge.digest

    @property
    def context(self) -> int:
        """1,024 tokens, separator included."""
        return self._judge.context

    def tokenizer(self) -> FastTokenizer:
        """The judge's own tokens as a measuring tokenizer."""
        return self._judge.tokenizer()

    def score(self, texts: Sequence[str], *, window: int | None, progress: Progress | None = None) -> JudgedRows:
        """Protocol `clean` of `CausalJudge`."""
        return self._judge.score(texts, window=window, progress=progress)

    def score_under(
        self,
        protocol: JudgingProtocol,
        texts: Sequence[str],
        *,
        window: int | None,
        progress: Progress | None = None,
    ) -> ProtocolRows:
        """Another protocol, as `CausalJudge` has it."""
        return self._judge.score_under(protocol, texts, window=window, progress=progress)

    def ranks(self, texts: Sequence[str], *, window: int | None, progress: Progress | None = None) -> RankedRows:
        """Ranks of the tokens that `score` scores."""
        return self._judge.ranks(texts, window=window, progress=progress)

    def gradients(self, texts: Sequence[str], *, window: int | None, progress: Progress | None = None) -> GradientRows:
        """Projected gradients of the mean of what `score` sums."""
        return self._judge.gradients(texts, window=window, progress=progress)

    @cached_property
    def _judge(self) -> CausalJudge:
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

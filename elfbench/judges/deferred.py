"""A causal judge under a name: its files are looked for, and its model is loaded, at first use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property

from elfbench.judges.causal import CausalJudge
from elfbench.judges.measuring import FastTokenizer
from elfbench.spec.instruments import GradientRows, JudgedRows, Progress, ProtocolRows, RankedRows
from elfbench.spec.judging import JudgingProtocol


class DeferredJudge(ABC):
    """Name and title need nothing installed; all else is the opened judge's."""

    name: str
    title: str

    @abstractmethod
    def open(self) -> CausalJudge:
        """Called once. Raises PrerequisiteError that names what to type where something is missing."""

    @cached_property
    def _judge(self) -> CausalJudge:
        return self.open()

    @property
    def digest(self) -> str:
        """That of the judge's files."""
        return self._judge.digest

    @property
    def context(self) -> int:
        """Longest sequence in tokens, separator included."""
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

"""A judge beside the suite's own: it sees the text that the suite's window leaves, whatever its own tokens are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from elfbench.spec.instruments import (
    GradientRows,
    Judge,
    JudgedRows,
    MeasuringTokenizer,
    Progress,
    ProtocolRows,
    RankedRows,
)
from elfbench.spec.judging import JudgingProtocol

_Rows = TypeVar("_Rows", JudgedRows, ProtocolRows, RankedRows, GradientRows)


class CutJudge:
    """`judge` on the first `window` tokens of `cutter`, in whole characters; all of what is left is judged.

    Lengths (`n_tokens`) are counted in tokens of `cutter`, as windows are. A window that is given again is not applied twice.
    """

    def __init__(self, judge: Judge, cutter: MeasuringTokenizer, window: int) -> None:
        self.judge, self.cutter, self.window = judge, cutter, window

    @property
    def name(self) -> str:
        """The judge's own."""
        return self.judge.name

    @property
    def title(self) -> str:
        """The judge's own."""
        return self.judge.title

    @property
    def digest(self) -> str:
        """The judge's own: who cuts stands beside it in protocols."""
        return self.judge.digest

    @property
    def context(self) -> int:
        """The judge's own."""
        return self.judge.context

    def tokenizer(self) -> MeasuringTokenizer:
        """The judge's own."""
        return self.judge.tokenizer()

    def score(self, texts: Sequence[str], *, window: int | None, progress: Progress | None = None) -> JudgedRows:
        """The judge's `score` of the cut texts."""
        return self._counted(texts, self.judge.score(self._cut(texts), window=None, progress=progress))

    def score_under(
        self,
        protocol: JudgingProtocol,
        texts: Sequence[str],
        *,
        window: int | None,
        progress: Progress | None = None,
    ) -> ProtocolRows:
        """The judge's `score_under` of the cut texts; where the protocol truncates, it does so at the judge's context."""
        return self._counted(texts, self.judge.score_under(protocol, self._cut(texts), window=None, progress=progress))

    def ranks(self, texts: Sequence[str], *, window: int | None, progress: Progress | None = None) -> RankedRows:
        """The judge's `ranks` of the cut texts."""
        return self._counted(texts, self.judge.ranks(self._cut(texts), window=None, progress=progress))

    def gradients(self, texts: Sequence[str], *, window: int | None, progress: Progress | None = None) -> GradientRows:
        """The judge's `gradients` of the cut texts."""
        return self._counted(texts, self.judge.gradients(self._cut(texts), window=None, progress=progress))

    def _cut(self, texts: Sequence[str]) -> list[str]:
        return self.cutter.truncate(texts, self.window)

    def _counted(self, texts: Sequence[str], rows: _Rows) -> _Rows:
        counts: Any = np.array([len(ids) for ids in self.cutter.encode(texts)], dtype=np.int64)
        return rows._replace(n_tokens=counts)

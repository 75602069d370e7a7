"""The judge for a causal language model of Hugging Face: `hf:FOLDER`, or `hf:HUB/ID` from the local cache.

Nothing is downloaded and no remote code is run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from elfbench.core.errors import ConfigError
from elfbench.judges.measuring import Cut, FastTokenizer
from elfbench.judges.protocols import JudgeTokens, score_rows
from elfbench.judges.scoring import Scorer
from elfbench.loading.model_folder import ModelFolder, open_model_folder
from elfbench.spec.instruments import GRADIENT, GradientRows, Judge, JudgedRows, Progress, ProtocolRows, RankedRows
from elfbench.spec.judging import JudgingProtocol


class _Prepared(NamedTuple):
    """cuts, n_scored, n_tokens: per text [N]; rows: ids of the texts with numbers `scored`, what stands before them included."""

    cuts: list[Cut]
    rows: list[np.ndarray]
    scored: np.ndarray
    n_scored: np.ndarray
    n_tokens: np.ndarray
    done: Callable[[int], None]
    """Already told of the texts that have nothing to score."""


class CausalJudge:
    """Protocol `clean`: the text's tokens without specials, the first `window` of them when given, after the judge's
    document separator (the one given, else its beginning-of-text id, else end-of-text id), which is not scored;
    float32, eval mode.

    A model with neither id does not score a text's first token.
    """

    def __init__(
        self, folder: ModelFolder, name: str, title: str, *, separator: str | None = None, budget: int | None = None
    ) -> None:
        """`separator`: the token that parted documents in training, where the folder's ids say something else.
        `budget`: tokens per forward, padding included; None chooses by device. Results do not depend on it.
        """
        self.name, self.title = name, title
        self._folder, self._separator, self._budget = folder, separator, budget

    @property
    def digest(self) -> str:
        """sha256 over the sha256 of config.json, tokenizer.json and the weight files."""
        return self._folder.digest

    @property
    def context(self) -> int:
        """Longest sequence in tokens, separator included."""
        return self._folder.context

    def tokenizer(self) -> FastTokenizer:
        """The judge's own tokens as a measuring tokenizer."""
        return self._tokenizer

    def score(self, texts: Sequence[str], *, window: int | None, progress: Progress | None = None) -> JudgedRows:
        """Per text, in the order of `texts`. `n_bytes_scored` counts a character that the last token covers in part.

        Raises ConfigError when a text is longer than the context.
        """
        found = self._prepared(texts, window, progress)
        nll = np.zeros(len(texts), dtype=np.float64)
        if len(found.scored):
            nll[found.scored] = self._scorer.sums(found.rows, found.done)
        skipped = [0] * len(texts)
        if self._before is None:
            skipped = [_reach(text, cut) for text, cut in zip(texts, self._tokenizer.cuts(texts, 1), strict=True)]
        n_bytes = [_reach(text, cut) - skip for text, cut, skip in zip(texts, found.cuts, skipped, strict=True)]
        return JudgedRows(
            nll_nats=nll,
            n_scored=found.n_scored,
            n_bytes_scored=np.where(found.n_scored > 0, np.array(n_bytes, dtype=np.int64), 0),
            n_tokens=found.n_tokens,
        )

    def ranks(self, texts: Sequence[str], *, window: int | None, progress: Progress | None = None) -> RankedRows:
        """Per text, in the order of `texts`: the ranks of the tokens that `score` scores, in their order.

        Raises ConfigError when a text is longer than the context.
        """
        found = self._prepared(texts, window, progress)
        ranks = [np.zeros(0, dtype=np.int64)] * len(texts)
        if len(found.scored):
            of_scored = self._scorer.ranks(found.rows, found.done)
            for number, one in zip(found.scored, of_scored, strict=True):
                ranks[number] = one
        return RankedRows(ranks, found.n_scored, found.n_tokens)

    def gradients(self, texts: Sequence[str], *, window: int | None, progress: Progress | None = None) -> GradientRows:
        """Per text, in the order of `texts`: `GRADIENT` over the tokens that `score` scores, one text at a time.

        Raises ConfigError when a text is longer than the context, or the model has no list of blocks.
        """
        found = self._prepared(texts, window, progress)
        gradient = np.zeros((len(texts), int(GRADIENT["width"])), dtype=np.float32)
        if len(found.scored):
            gradient[found.scored] = self._scorer.gradients(found.rows, found.done)
        return GradientRows(gradient, found.n_scored, found.n_tokens)

    def score_under(
        self,
        protocol: JudgingProtocol,
        texts: Sequence[str],
        *,
        window: int | None,
        progress: Progress | None = None,
    ) -> ProtocolRows:
        """Per text, in the order of `texts`, under another protocol. A separator that was given is also the beginning-of-text, end-of-text
        and padding token.

        Raises ConfigError when a text is longer than the context and the protocol truncates nothing, or the judge lacks a token.
        """
        done = progress or (lambda _: None)
        unjudged = len(texts)

        def nats(rows: Sequence[np.ndarray]) -> list[np.ndarray]:
            nonlocal unjudged
            unjudged -= len(rows)
            return self._scorer.each(rows, done)

        found = score_rows(protocol, texts, self._tokens, window=window, nats=nats)
        if unjudged:
            done(unjudged)
        return found

    def _prepared(self, texts: Sequence[str], window: int | None, progress: Progress | None) -> _Prepared:
        cuts = self._tokenizer.cuts(texts, window)
        before = np.array([] if self._before is None else [self._before], dtype=np.int64)
        rows = [np.concatenate([before, cut.ids]) for cut in cuts]
        self._check_lengths(rows, window)
        n_scored = np.array(
            [max(0, len(row) - 1) if len(cut.ids) else 0 for row, cut in zip(rows, cuts, strict=True)], dtype=np.int64
        )
        scored = np.flatnonzero(n_scored)
        n_tokens = np.array([cut.n_tokens for cut in cuts], dtype=np.int64)
        done = progress or (lambda _: None)
        if len(scored) < len(texts):
            done(len(texts) - len(scored))
        return _Prepared(cuts, [rows[number] for number in scored], scored, n_scored, n_tokens, done)

    @cached_property
    def _before(self) -> int | None:
        """The id that stands before every text, or None."""
        return self._tokenizer.token_id(self._separator) if self._separator else self._folder.separator

    @cached_property
    def _tokens(self) -> JudgeTokens:
        folder = self._folder
        if self._separator:
            own = self._tokenizer.token_id(self._separator)
            return JudgeTokens(self.name, self._tokenizer, self.context, own, own, own, own)
        return JudgeTokens(
            self.name,
            self._tokenizer,
            self.context,
            separator=folder.separator,
            beginning=folder.tokenizer_special("bos_token"),
            end=folder.tokenizer_special("eos_token"),
            padding=folder.padding,
        )

    @cached_property
    def _tokenizer(self) -> FastTokenizer:
        return FastTokenizer(self._folder.tokenizer_file, self.name)

    @cached_property
    def _scorer(self) -> Scorer:
        return Scorer(self._folder.path, budget=self._budget)

    def _check_lengths(self, rows: Sequence[np.ndarray], window: int | None) -> None:
        longest = max(range(len(rows)), key=lambda number: len(rows[number]), default=None)
        if longest is not None and len(rows[longest]) > self.context:
            raise ConfigError(
                f"a text is longer than the context of judge {self.name}",
                key="measure.window",
                found=f"{len(rows[longest])} tokens, separator included, in text {longest}"
                + (f", window {window}" if window else ""),
                allowed=f"at most {self.context}",
                remedy=f"give a window of at most {self.context - 1} tokens",
            )


def open_judge(argument: str) -> Judge:
    """The judge `hf:ARGUMENT`: a folder, or a hub id in the local cache. ConfigError names what is missing."""
    folder, short = open_model_folder(argument, key="judge")
    method = (folder.config.get("quantization_config") or {}).get("quant_method")
    return CausalJudge(folder, f"hf:{short}", f"{short} ({method})" if method else short)


def _reach(text: str, cut: Cut) -> int:
    """UTF-8 bytes from the start of the text to the end of the cut."""
    return len(text[: cut.touched].encode("utf-8", "surrogatepass"))

"""The judge for a causal language model of Hugging Face: `hf:FOLDER`, or `hf:HUB/ID` from the local cache.

Nothing is downloaded and no remote code is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from elfbench.core.errors import ConfigError
from elfbench.judges.measuring import Cut, FastTokenizer
from elfbench.judges.protocols import JudgeTokens, score_rows
from elfbench.judges.scoring import Scorer
from elfbench.loading.model_folder import ModelFolder, open_model_folder
from elfbench.spec.instruments import Judge, JudgedRows, Progress, ProtocolRows
from elfbench.spec.judging import JudgingProtocol


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
        cuts = self._tokenizer.cuts(texts, window)
        separator = self._tokenizer.token_id(self._separator) if self._separator else self._folder.separator
        before = np.array([] if separator is None else [separator], dtype=np.int64)
        rows = [np.concatenate([before, cut.ids]) for cut in cuts]
        self._check_lengths(rows, window)
        n_scored = np.array([max(0, len(row) - 1) if len(cut.ids) else 0 for row, cut in zip(rows, cuts, strict=True)])
        scored = np.flatnonzero(n_scored)
        nll = np.zeros(len(texts), dtype=np.float64)
        done = progress or (lambda _: None)
        if len(scored) < len(texts):
            done(len(texts) - len(scored))
        if len(scored):
            nll[scored] = self._scorer.sums([rows[number] for number in scored], done)
        skipped = [0] * len(texts)
        if separator is None:
            skipped = [_reach(text, cut) for text, cut in zip(texts, self._tokenizer.cuts(texts, 1), strict=True)]
        n_bytes = [_reach(text, cut) - skip for text, cut, skip in zip(texts, cuts, skipped, strict=True)]
        return JudgedRows(
            nll_nats=nll,
            n_scored=n_scored.astype(np.int64),
            n_bytes_scored=np.where(n_scored > 0, np.array(n_bytes, dtype=np.int64), 0),
            n_tokens=np.array([cut.n_tokens for cut in cuts], dtype=np.int64),
        )

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

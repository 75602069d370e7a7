"""A registered entry with an exact likelihood as a judge, `entry:NAME`: another architecture and training text beside the usual judge.

Protocol `clean` as near as an entry comes to it: the whole text under the entry's own tokenizer, after the token that its rows start from,
which is not scored. An entry that was trained on the corpus of the models that it judges is in-domain, and its title says so: it finds their
text likelier than a judge of the open world does, and what all of them have memorized likeliest of all.
DEVIATION(clean, CausalJudge.score): a window is cut in whole characters, and what is left is tokenized again; there, ids are cut.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from elfbench.core.canonical import digest
from elfbench.core.errors import ConfigError
from elfbench.loading import backend
from elfbench.loading.tokenizer import Tokenizer
from elfbench.registry import catalog
from elfbench.spec.card import ModelCard
from elfbench.spec.instruments import GradientRows, JudgedRows, Progress, ProtocolRows, RankedRows
from elfbench.spec.judging import JudgingProtocol
from elfbench.spec.sampling import LikelihoodModel, LikelihoodRequest, as_entry

VERSION = 1
"""Raised when an entry judge gives other numbers for the same entry and texts."""
_OWN_TEXT = ("packaged", "fitted")
"""Weights that come from this project's corpora."""
_SURROGATE = re.compile("[\ud800-\udfff]")


class EntryTokenizer:
    """An entry's tokenizer as a measuring tokenizer; lossless, as the byte-level ones of packaged entries are."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.name, self.digest, self._tokenizer = tokenizer.spec.name, tokenizer.spec.digest, tokenizer

    def encode(self, texts: Sequence[str], *, limit: int | None = None) -> list[np.ndarray]:
        """Per text, int64 ids [n]; only the first `limit` when given."""
        return [self._tokenizer.encode(_well_formed(text))[:limit] for text in texts]

    def truncate(self, texts: Sequence[str], window: int) -> list[str]:
        """Per text, the longest prefix of whole characters that its first `window` tokens cover."""
        return [self._truncated(text, ids, window) for text, ids in zip(texts, self.encode(texts), strict=True)]

    def _truncated(self, text: str, ids: np.ndarray, window: int) -> str:
        if len(ids) <= window:
            return text
        # A character that the tokens cover in part decodes to a mark that is not in the text.
        covered = self._tokenizer.decode(ids[:window], specials=True)
        pairs = zip(_well_formed(text), covered, strict=False)
        return text[: next((place for place, (own, found) in enumerate(pairs) if own != found), len(covered))]


class EntryJudge:
    """A loaded entry with an exact likelihood. Results depend on no other text of a call."""

    def __init__(self, card: ModelCard, model: LikelihoodModel, tokenizer: Tokenizer) -> None:
        self._card, self._model, self._tokenizer = card, model, EntryTokenizer(tokenizer)
        self.name = f"entry:{card.name}"
        own = card.weights.kind in _OWN_TEXT
        self.title = f"{card.name} ({'in-domain judge' if own else 'entry'})"

    @property
    def digest(self) -> str:
        """sha256 over the entry's identity: revision, implementation, weights and tokenizer."""
        card = self._card
        return digest(
            {
                "entry": card.name,
                "revision": card.revision,
                "implementation": card.implementation,
                "weights": card.weights.digest,
                "tokenizer": card.tokenizer.digest,
                "version": VERSION,
            }
        )

    @property
    def context(self) -> int:
        """Longest sequence in tokens, the start token included."""
        return self._card.max_length + 1

    def tokenizer(self) -> EntryTokenizer:
        """The entry's own tokens as a measuring tokenizer."""
        return self._tokenizer

    def score(self, texts: Sequence[str], *, window: int | None, progress: Progress | None = None) -> JudgedRows:
        """Per text, in the order of `texts`; bytes are those of the text that is left after the window's cut.

        Raises ConfigError when a text is longer than the entry's length, or has probability 0.
        """
        cut = self._tokenizer.truncate(texts, window) if window is not None else list(texts)
        lengths = np.array([len(ids) for ids in self._tokenizer.encode(cut)], dtype=np.int64)
        self._check_lengths(lengths, window)
        nll, n_bytes, scored = np.zeros(len(texts)), np.zeros(len(texts), dtype=np.int64), np.flatnonzero(lengths)
        if len(scored):
            seen = tuple(_well_formed(cut[number]) for number in scored)
            found = self._model.nll(LikelihoodRequest(texts=seen, seeds=(0,) * len(seen)))
            nll[scored], n_bytes[scored] = found.nll_nats, found.n_bytes_scored
            lengths[scored] = found.n_scored
        if progress:
            progress(len(texts))
        n_tokens = np.array([len(ids) for ids in self._tokenizer.encode(texts)], dtype=np.int64)
        return JudgedRows(nll_nats=nll, n_scored=lengths, n_bytes_scored=n_bytes, n_tokens=n_tokens)

    def score_under(
        self,
        protocol: JudgingProtocol,
        texts: Sequence[str],
        *,
        window: int | None,
        progress: Progress | None = None,
    ) -> ProtocolRows:
        """Always raises ConfigError: other protocols score tokens that an entry does not show one by one."""
        raise self._only_likelihoods(f"protocol {protocol.name}", "protocol", "--protocol clean, or a judge hf:FOLDER")

    def ranks(self, texts: Sequence[str], *, window: int | None, progress: Progress | None = None) -> RankedRows:
        """Always raises ConfigError."""
        raise self._only_likelihoods("ranks of tokens", "judge", "a judge hf:FOLDER")

    def gradients(self, texts: Sequence[str], *, window: int | None, progress: Progress | None = None) -> GradientRows:
        """Always raises ConfigError."""
        raise self._only_likelihoods("gradients", "judge", "a judge hf:FOLDER")

    def _only_likelihoods(self, found: str, key: str, remedy: str) -> ConfigError:
        return ConfigError(
            f"judge {self.name} gives likelihoods of whole texts alone",
            key=key,
            found=found,
            allowed="gen_ppl, bits_per_byte under protocol clean",
            remedy=remedy,
        )

    def _check_lengths(self, lengths: np.ndarray, window: int | None) -> None:
        most = self._card.max_length
        if len(lengths) and lengths.max() > most:
            raise ConfigError(
                f"a text is longer than judge {self.name} takes",
                key="measure.window",
                found=f"{lengths.max()} tokens in text {int(lengths.argmax())}"
                + (f", window {window}" if window else ""),
                allowed=f"at most {most}",
                remedy=f"give a window that leaves at most {most} tokens of {self._tokenizer.name}",
            )


def open_judge(argument: str) -> EntryJudge:
    """The judge `entry:ARGUMENT`. Raises ConfigError for an entry whose likelihood is a bound or an estimate, or that has none."""
    entry = as_entry(catalog.models().get(argument))
    if "likelihood" not in entry.card.tasks:
        raise _unfit(argument, "it scores no text")
    model = entry.load(device=backend.device())
    if not isinstance(model, LikelihoodModel):
        raise _unfit(argument, "it scores no text")
    if model.bound != "exact":
        raise _unfit(argument, f"its likelihood is {'an upper bound' if model.bound == 'upper' else 'an estimate'}")
    tokenizer = getattr(model, "tokenizer", None)
    if not isinstance(tokenizer, Tokenizer):
        raise _unfit(argument, "it shows no tokenizer")
    return EntryJudge(entry.card, model, tokenizer)


def _unfit(argument: str, found: str) -> ConfigError:
    return ConfigError(
        f"{argument} cannot judge",
        key="judge",
        found=f"entry:{argument}: {found}",
        allowed="an entry with an exact likelihood, such as entry:ar-sotu",
    )


def _well_formed(text: str) -> str:
    """Lone surrogates, which have no UTF-8 form, become U+FFFD; character places stay."""
    return _SURROGATE.sub("\ufffd", text)

"""Featurizers: the last layer of a transformers model, pooled to one vector per text. `hf:FOLDER`, or `hf:HUB/ID` from the local cache.

Mean over a text's tokens, as sentence encoders are trained, or the state of its last token, as MAUVE reads GPT-2 (Pillutla et al. 2021,
arXiv 2102.01454, appendix D). Nothing is downloaded and no remote code is run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from elfbench.core.canonical import digest
from elfbench.core.errors import ConfigError
from elfbench.judges.batching import batches, padded
from elfbench.judges.measuring import FastTokenizer
from elfbench.loading import backend
from elfbench.loading.model_folder import ModelFolder, open_model_folder
from elfbench.spec.instruments import Progress

Pooling = Literal["mean", "last"]
VERSION = 1
"""Raised when an encoder gives other numbers for the same model, pooling and text."""
LAST_MAX_TOKENS = 1024
"""GPT-2's context, where MAUVE truncates; also the limit of causal models with a longer one."""
MEAN_MAX_TOKENS = 512
_CAUSAL = ("ForCausalLM", "LMHeadModel")
_BUDGET = {"cpu": 2048, "cuda": 65536}
_WORDS = {"mean": "mean over at most", "last": "last of at most"}


class Reading(NamedTuple):
    """How a text becomes a vector: the pooling, and how many of its first tokens, special ones included, are read."""

    pooling: Pooling
    max_tokens: int

    @property
    def words(self) -> str:
        """What titles say of it."""
        return f"{_WORDS[self.pooling]} {self.max_tokens} tokens"


class Encoder:
    """One vector per text [D], as wide as the model, neither normalized nor projected: MAUVE does both itself.

    Read are the tokens that the tokenizer's own template makes of a text, special tokens included; of a longer text the first `max_tokens`,
    with the special tokens at its end kept. float32, eval mode; results depend on neither batch nor padding. An empty text, where the
    template adds nothing, is the model's beginning-of-text token alone (else its end-of-text token).
    DEVIATION(mauve-text, featurize_tokens_from_model): there an empty text has the state of whatever padding its batch brought.
    """

    def __init__(
        self,
        name: str,
        title: str,
        reading: Reading,
        folder: Callable[[], ModelFolder],
        *,
        identity: Callable[[], str] | None = None,
        budget: int | None = None,
    ) -> None:
        """`folder` is called at first use. `identity`: the digest of the model's files where it is known without them.
        `budget`: tokens per forward, padding included; None chooses by device.
        """
        self.name, self.title, self.reading = name, title, reading
        self._open, self._identity, self._budget = folder, identity, budget

    @cached_property
    def digest(self) -> str:
        """sha256 over the model's files, the pooling and the truncation."""
        model = self._identity() if self._identity else self._folder.digest
        return digest({"model": model, **self.reading._asdict(), "version": VERSION})

    def features(self, texts: Sequence[str], *, progress: Progress | None = None) -> np.ndarray:
        """float32 [N, D], in the order of `texts`."""
        torch = backend.need("torch")
        rows, device = self._rows(texts), backend.device()
        vectors = np.zeros((len(rows), int(self._model.config.hidden_size)), dtype=np.float32)
        for group in batches([len(row) for row in rows], self._budget or _BUDGET[device]):
            ids, mask = (torch.from_numpy(array).to(device) for array in padded([rows[number] for number in group]))
            with torch.inference_mode():
                hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
                vectors[group] = _POOL[self.reading.pooling](hidden, mask).cpu().numpy()
            if progress:
                progress(len(group))
        return vectors

    def _rows(self, texts: Sequence[str]) -> list[np.ndarray]:
        rows = self._tokenizer.with_specials(texts)
        if any(len(row) > self.reading.max_tokens for row in rows):
            cut = self._tokenizer.rows(texts, specials=True, limit=self.reading.max_tokens)
            rows = [row.ids for row in cut]
        return [row if len(row) else self._nothing for row in rows]

    @cached_property
    def _nothing(self) -> np.ndarray:
        if self._folder.separator is None:
            raise ConfigError(
                "an empty text, for a model without special tokens",
                key="featurizer",
                found=self.name,
                remedy="leave empty texts out, or take another featurizer",
            )
        return np.array([self._folder.separator], dtype=np.int64)

    @cached_property
    def _folder(self) -> ModelFolder:
        return self._open()

    @cached_property
    def _tokenizer(self) -> FastTokenizer:
        return FastTokenizer(self._folder.tokenizer_file, self.name)

    @cached_property
    def _model(self) -> Any:
        return _trunk(self._folder).to(backend.device())


def open_featurizer(argument: str) -> Encoder:
    """The featurizer `hf:SOURCE`, or `hf:SOURCE#mean`, `hf:SOURCE#last`: a folder, or a hub id in the local cache.

    Without a pooling of one's own: `last` for a causal language model, `mean` for any other architecture. ConfigError names what is missing.
    """
    source, asked = parted(argument)
    folder, short = open_model_folder(source, key="featurizer")
    pooling = asked or own_pooling(folder)
    reading = Reading(pooling, min(folder.context, LAST_MAX_TOKENS if pooling == "last" else MEAN_MAX_TOKENS))
    name = f"hf:{short}#{asked}" if asked else f"hf:{short}"
    return Encoder(name, f"{short} ({reading.words})", reading, lambda: folder)


def parted(argument: str) -> tuple[str, Pooling | None]:
    """`SOURCE#POOLING` in its two parts. Raises ConfigError for another pooling; a # in a folder's name belongs to the folder."""
    source, mark, last = argument.rpartition("#")
    if not mark or "/" in last:
        return argument, None
    for pooling in get_args(Pooling):
        if last == pooling:
            return source, pooling
    raise ConfigError("no such pooling", key="featurizer", found=f"#{last}", allowed=get_args(Pooling))


def own_pooling(folder: ModelFolder) -> Pooling:
    """`last` where config.json names an architecture of causal language models, else `mean`. ConfigError where it names none."""
    named = folder.config.get("architectures") or ()
    if not named:
        raise ConfigError(
            "config.json names no architecture, which would choose the pooling",
            key="featurizer",
            found=str(folder.path),
            remedy="say it: hf:SOURCE#mean, or hf:SOURCE#last",
        )
    return "last" if any(str(one).endswith(_CAUSAL) for one in named) else "mean"


def _mean(hidden: Any, mask: Any) -> Any:
    """[B, L, D] and mask [B, L] -> [B, D], over the real tokens."""
    weights = mask[..., None].to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1)


def _last(hidden: Any, mask: Any) -> Any:
    """[B, L, D] and mask [B, L] -> [B, D], the last real token of rows padded on the right."""
    last = mask.sum(dim=1) - 1
    return hidden.take_along_dim(last[:, None, None], dim=1).squeeze(1)


_POOL: dict[Pooling, Callable[[Any, Any], Any]] = {"mean": _mean, "last": _last}


def _trunk(folder: ModelFolder) -> Any:
    """The model without its head; of an encoder-decoder, the encoder."""
    if folder.config.get("is_encoder_decoder"):
        return backend.load("AutoModelForTextEncoding", folder.path)
    try:
        # Checkpoints of masked language models lack the pooler, which is not read here.
        return backend.load("AutoModel", folder.path, add_pooling_layer=False)
    except TypeError:  # an architecture that never has one
        return backend.load("AutoModel", folder.path)

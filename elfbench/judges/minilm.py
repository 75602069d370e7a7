"""The embedded featurizer, all-MiniLM-L6-v2."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from elfbench.core.canonical import digest
from elfbench.judges.assets import MINILM_PACKAGE, model_file
from elfbench.judges.batching import batches, padded
from elfbench.judges.measuring import FastTokenizer
from elfbench.loading import backend
from elfbench.loading.model_folder import ModelFolder
from elfbench.spec.instruments import Progress

MAX_TOKENS = 256
_BUDGET = {"cpu": 2048, "cuda": 65536}


class MiniLM:
    """Mean of the last layer over a text's real tokens, at most 256 with [CLS] and [SEP]; 384 numbers, not normalized.

    Weak on word order: word-shuffled text lies close to the text it was made of, so a distance of distributions in this
    space (MAUVE) must not be the only metric of a report.
    """

    name = "minilm"
    title = "all-MiniLM-L6-v2 (mean pooling)"

    @cached_property
    def digest(self) -> str:
        """sha256 over the model's files and the pooling."""
        return digest({"model": self._folder.digest, "pooling": "mean", "max_tokens": MAX_TOKENS, "version": 1})

    def features(self, texts: Sequence[str], *, progress: Progress | None = None) -> np.ndarray:
        """float32 [N, 384], in the order of `texts`."""
        torch = backend.need("torch")
        rows = [
            np.concatenate([self._ends[0], ids, self._ends[1]])
            for ids in self._tokenizer.encode(texts, limit=MAX_TOKENS - 2)
        ]
        vectors = np.zeros((len(rows), int(self._folder.config["hidden_size"])), dtype=np.float32)
        for group in batches([len(row) for row in rows], _BUDGET[backend.device()]):
            ids, mask = (
                torch.from_numpy(array).to(backend.device()) for array in padded([rows[number] for number in group])
            )
            with torch.inference_mode():
                hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
                weights = mask[..., None].to(hidden.dtype)
                pooled = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
            vectors[group] = pooled.cpu().numpy()
            if progress:
                progress(len(group))
        return vectors

    @cached_property
    def _folder(self) -> ModelFolder:
        return ModelFolder(model_file(MINILM_PACKAGE).parent, key="featurizer")

    @cached_property
    def _tokenizer(self) -> Any:
        return FastTokenizer(self._folder.tokenizer_file, self.name)

    @cached_property
    def _ends(self) -> tuple[np.ndarray, np.ndarray]:
        first, last = (self._tokenizer.token_id(token) for token in ("[CLS]", "[SEP]"))
        return np.array([first], dtype=np.int64), np.array([last], dtype=np.int64)

    @cached_property
    def _model(self) -> Any:
        return backend.load("AutoModel", self._folder.path).to(backend.device())


MINILM = MiniLM()

"""`hf:FOLDER` or `hf:HUB/ID`: any causal language model of transformers as an entry. Nothing is downloaded, no remote code is run.

Rows start from the model's document separator (its beginning-of-text id, else its end-of-text id) and end at an end-of-text.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from elfbench.adapters.drawing import draw_ids
from elfbench.adapters.likelihood import RowScores, score_texts
from elfbench.adapters.trained import TEMPERATURE, TOP_P
from elfbench.core.errors import ConfigError
from elfbench.loading import backend
from elfbench.loading.model_folder import ModelFolder, open_model_folder
from elfbench.loading.tokenizer import ByteTokenizer, ForeignTokenizer, Tokenizer
from elfbench.spec.card import ModelCard, WeightsSpec
from elfbench.spec.sampling import LikelihoodBatch, LikelihoodRequest, SampleBatch, SampleRequest

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class HfModel:
    """A loaded causal model."""

    card: ModelCard
    net: Any
    tokenizer: Tokenizer
    start_id: int
    device: str

    @property
    def counted(self) -> Any:
        return self.net

    @property
    def bound(self) -> Literal["exact"]:
        return "exact"

    def sample(self, request: SampleRequest) -> SampleBatch:
        import torch

        start = time.perf_counter()
        with torch.inference_mode():
            ids, lengths = self._run(request)
        views = [self.tokenizer.final_and_raw(row[:length]) for row, length in zip(ids, lengths, strict=True)]
        return SampleBatch(
            tokens=ids,
            lengths=lengths,
            texts=tuple(final for final, _ in views),
            raw_texts=tuple(raw for _, raw in views),
            nfe=lengths.copy(),  # one pass per token of the row, its end-of-text included
            positions=lengths.copy(),
            seconds=time.perf_counter() - start,
        )

    def draw(self, probabilities: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
        """Ids [N] int64, by the function that the sampler calls."""
        return draw_ids(probabilities, uniforms, self.device)

    def nll(self, request: LikelihoodRequest) -> LikelihoodBatch:
        """Exact, every token of the text after the separator; a text of more tokens than the context is refused."""
        return score_texts(request, self.tokenizer, self.card.max_length, self._score)

    def _score(self, ids: np.ndarray, seeds: Sequence[int]) -> RowScores:
        import torch

        target = torch.from_numpy(ids).to(self.device)
        with torch.inference_mode():
            given = torch.nn.functional.pad(target[:, :-1], (1, 0), value=self.start_id)
            logits = self.net(given).logits.float()
            nll = (
                torch.nn.functional.cross_entropy(logits.transpose(1, 2), target, reduction="none").double().sum(dim=1)
            )
        return RowScores(nll.cpu().numpy(), np.zeros(len(ids)))

    def _run(self, request: SampleRequest) -> tuple[np.ndarray, np.ndarray]:
        """Ids [B, L] and valid lengths [B]; rows that ended leave the batch, so the others don't wait for them."""
        import torch

        from dlm_baselines.categorical import draw, nucleus, tempered
        from elf_model.training.noise import RowNoise

        options: dict[str, Any] = self.card.all_options(request.options)
        noise = RowNoise(request.seeds, device=self.device)
        rows = len(request.rows)
        ids = torch.zeros((rows, request.length), dtype=torch.int64, device=self.device)
        lengths = torch.full((rows,), request.length, dtype=torch.int64, device=self.device)
        last: Tensor = torch.full((rows, 1), self.start_id, dtype=torch.int64, device=self.device)
        going = torch.arange(rows, device=self.device)
        cache: Any = None
        # transformers 5.2x renamed the argument and the output.
        cache_key = "cache" if "cache" in inspect.signature(self.net.forward).parameters else "past_key_values"
        for i in range(request.length):
            out = self.net(last, use_cache=True, **{cache_key: cache})
            probs = nucleus(tempered(out.logits[:, -1].float(), options["temperature"]), options["top_p"])
            drawn = draw(probs, noise.uniform(i, ())[going])
            ids[going, i], cache = drawn, out[cache_key]
            ended = drawn == self.tokenizer.eos_id
            if bool(ended.any()):
                lengths[going[ended]] = i + 1
                kept = (~ended).nonzero().squeeze(1)
                if not len(kept):
                    break
                cache.batch_select_indices(kept)
                going, drawn = going[kept], drawn[kept]
            last = drawn[:, None]
        return ids.cpu().numpy(), lengths.cpu().numpy()


@dataclass(frozen=True, slots=True)
class HfEntry:
    """An entry made from a folder of a saved model."""

    card: ModelCard
    folder: ModelFolder

    def load(self, weights: Path | None = None, device: str = "cpu", dtype: str = "float32") -> HfModel:
        if weights is not None:
            raise ConfigError(
                f"{self.card.name} takes its weights from its folder",
                key="--weights",
                found=str(weights),
                remedy="give the folder of those weights as hf:FOLDER",
            )
        start_id = self.folder.separator
        if start_id is None:
            raise ConfigError(
                f"{self.card.name} has neither a beginning-of-text nor an end-of-text id to start from",
                key="config.json",
                found="no bos_token_id, no eos_token_id",
            )
        torch = backend.need("torch")
        net = backend.load("AutoModelForCausalLM", self.folder.path).to(device=device, dtype=getattr(torch, dtype))
        return HfModel(self.card, net, _tokenizer(self.folder, self.card.tokenizer.name), start_id, device)

    def toy(self, seed: int) -> HfModel:
        torch, transformers = backend.need("torch"), backend.need("transformers")
        tokenizer = ByteTokenizer()
        config = transformers.GPT2Config(
            vocab_size=tokenizer.vocab_size,
            n_positions=256,
            n_embd=16,
            n_layer=1,
            n_head=2,
            bos_token_id=tokenizer.eos_id,
            eos_token_id=tokenizer.eos_id,
        )
        with torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(seed)
            net = transformers.GPT2LMHeadModel(config).eval()
        card = self.card.model_copy(
            update={"tokenizer": tokenizer.spec, "vocab_size": tokenizer.vocab_size, "max_length": 255}
        )
        return HfModel(card, net, tokenizer, tokenizer.eos_id, "cpu")


def open_entry(argument: str) -> HfEntry:
    """The entry `hf:ARGUMENT`. Raises ConfigError naming what the folder lacks."""
    folder, short = open_model_folder(argument, key="model")
    tokenizer = _tokenizer(folder, short)
    size = folder.config.get("vocab_size") or (folder.config.get("text_config") or {}).get("vocab_size")
    card = ModelCard(
        name=f"hf:{short}",
        revision=folder.digest[:12],
        implementation=1,
        title=short,
        summary="A causal language model of transformers, with a key-value cache.",
        family="autoregressive",
        tokenizer=tokenizer.spec,
        vocab_size=int(size or tokenizer.vocab_size),
        max_length=folder.context - 1,
        tasks=("unconditional", "likelihood"),
        options={"temperature": TEMPERATURE, "top_p": TOP_P},
        has_steps=False,
        licence="see its folder",
        citation=f"the model in {short}",
        weights=WeightsSpec(kind="hub", source=short, digest=folder.digest),
    )
    return HfEntry(card, folder)


def _tokenizer(folder: ModelFolder, name: str) -> ForeignTokenizer:
    return ForeignTokenizer(folder.tokenizer_file, name, folder.end_of_text)

"""MDLM entries."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from elfbench.adapters import oracle, sotu
from elfbench.adapters.batches import sample_batch
from elfbench.adapters.likelihood import RowScores, score_texts
from elfbench.adapters.tracing import Frames
from elfbench.adapters.trained import (
    TEMPERATURE,
    TOP_P,
    Packaged,
    TrainingText,
    card_of,
    model_errors,
    packaged_weights,
    randomized,
)
from elfbench.loading.tokenizer import Tokenizer
from elfbench.spec.card import ModelCard, OptionSpec
from elfbench.spec.sampling import LikelihoodBatch, LikelihoodRequest, SampleBatch, SampleRequest, Trace

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from dlm_baselines.dit import Dit


@dataclass(frozen=True, slots=True)
class MdlmModel:
    """A loaded MDLM. The mask is the last id of its vocabulary."""

    card: ModelCard
    net: Dit
    tokenizer: Tokenizer
    device: str

    @property
    def counted(self) -> Module:
        return self.net.vocab_embed

    def sample(self, request: SampleRequest) -> SampleBatch:
        start = time.perf_counter()
        ids, nfe = self._run(request, None)
        seconds = time.perf_counter() - start
        return sample_batch(ids, self.tokenizer, nfe=nfe, positions=nfe * request.length, seconds=seconds)

    def draw(self, probabilities: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
        """Ids [N] int64, by the function that the sampler calls."""
        import torch

        from dlm_baselines.categorical import draw

        found = draw(torch.tensor(probabilities, device=self.device), torch.tensor(uniforms, device=self.device))
        ids: np.ndarray = found.cpu().numpy()
        return ids

    @property
    def bound(self) -> Literal["upper"]:
        return "upper"

    def nll(self, request: LikelihoodRequest) -> LikelihoodBatch:
        """Upper bounds, with their Monte-Carlo errors."""
        return score_texts(request, self.tokenizer, self.card.max_length, self._score)

    def _score(self, ids: np.ndarray, seeds: Sequence[int]) -> RowScores:
        import torch

        from dlm_baselines.likelihood import BoundSettings
        from dlm_baselines.mdlm import nelbo
        from elf_model.training.noise import RowNoise

        found = nelbo(
            self.net,
            torch.from_numpy(ids).to(self.device),
            mask_id=self.net.config.vocab_size - 1,
            noise=RowNoise(seeds),
            settings=BoundSettings(),
        )
        return RowScores(found.nll_nats.cpu().numpy(), found.error_nats.cpu().numpy())

    def trace(self, request: SampleRequest, frames: int) -> Trace:
        """Undecided positions are -1; the last frame is the sample."""
        recorder = Frames(frames, request.steps or 1, self.tokenizer, mask_id=self.net.config.vocab_size - 1)
        ids, _ = self._run(request, recorder)
        return recorder.trace(ids)

    def _run(self, request: SampleRequest, recorder: Frames | None) -> tuple[np.ndarray, np.ndarray]:
        import torch

        from dlm_baselines.mdlm_sampler import SamplerSettings, sample
        from elf_model.training.noise import RowNoise

        options: dict[str, Any] = self.card.all_options(request.options)
        mask_id = self.net.config.vocab_size - 1
        settings = SamplerSettings(
            steps=request.steps or 1,
            method=options["method"],
            last_step=options["last_step"],
            temperature=options["temperature"],
            top_p=options["top_p"],
        )

        def on_step(step: int, ids: Tensor) -> None:
            if recorder is not None:
                recorder.record(step, ids.cpu().numpy())

        done = sample(
            self.net,
            torch.full((len(request.rows), request.length), mask_id, device=self.device),
            mask_id=mask_id,
            settings=settings,
            noise=RowNoise(request.seeds, device=self.device),
            on_step=on_step if recorder is not None else None,
        )
        return done.ids.cpu().numpy(), done.nfe.cpu().numpy()


@dataclass(frozen=True, slots=True)
class MdlmEntry:
    """A registered MDLM with packaged weights."""

    card: ModelCard
    packaged: Packaged
    text: TrainingText

    def load(self, weights: Path | None = None, device: str = "cpu", dtype: str = "float32") -> MdlmModel:
        with model_errors(self.card.name, weights):
            import torch

            from dlm_baselines.weights_file import load_weights

            net = load_weights(weights or self.packaged.path).net.to(device=device, dtype=getattr(torch, dtype))
            return MdlmModel(self.card, net, self.text.tokenizer(), device)

    def toy(self, seed: int) -> MdlmModel:
        from dlm_baselines.dit import DitConfig, build_dit

        tokenizer = sotu.toy_tokenizer()
        net = randomized(
            build_dit(
                DitConfig(vocab_size=tokenizer.vocab_size + 1, hidden=16, depth=1, heads=2, cond_dim=8), seed=seed
            ),
            seed,
        )
        spec = tokenizer.spec.model_copy(update={"mask_id": tokenizer.vocab_size})
        card = self.card.model_copy(
            update={"tokenizer": spec, "vocab_size": tokenizer.vocab_size + 1, "n_params": None}
        )
        return MdlmModel(card, net, tokenizer, "cpu")


_OPTIONS = {
    "method": OptionSpec(
        type="str",
        default="ancestral",
        choices=("ancestral", "first_hitting", "race_float32", "race_float64"),
        meaning="ancestral sampling; first hitting, one position per pass whatever the steps; the authors' exponential race, in their "
        "float32 (which loses the tail as steps grow) or in float64",
    ),
    "last_step": OptionSpec(
        type="str",
        default="sampled",
        choices=("sampled", "greedy"),
        meaning="tokens still masked after the last time: drawn, or the most probable as in the authors' code",
    ),
    "temperature": TEMPERATURE,
    "top_p": TOP_P,
}


def _entry(text: TrainingText) -> MdlmEntry:
    packaged = packaged_weights("dlm_baselines", f"mdlm-{text.name}")
    card = card_of(
        packaged,
        text,
        masked=True,
        implementation=1,
        title="MDLM",
        summary="Masked diffusion (SUBS), ancestral sampler in float64",
        family="discrete",
        tasks=("unconditional", "likelihood"),
        options=_OPTIONS,
        has_steps=True,
        max_steps=4096,
        citation="Sahoo et al. 2024, Simple and Effective Masked Diffusion Language Models, arXiv 2406.07524",
    )
    return MdlmEntry(card, packaged, text)


MDLM_SOTU, MDLM_ORACLE = _entry(sotu.TEXT), _entry(oracle.TEXT)

"""Entries of discrete diffusion: MDLM, D3PM, SEDD, Duo. They differ in a `System` of `dlm_baselines` and in their options."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from elfbench.adapters import oracle, sotu
from elfbench.adapters.batches import sample_batch
from elfbench.adapters.discrete_kinds import KINDS, TASKS
from elfbench.adapters.drawing import draw_ids
from elfbench.adapters.likelihood import RowScores, score_texts
from elfbench.adapters.prompts import continuation_batch, infilled_batch, templates
from elfbench.adapters.tracing import Frames
from elfbench.adapters.trained import (
    Packaged,
    TrainingText,
    card_of,
    model_errors,
    packaged_weights,
    randomized,
)
from elfbench.core.errors import ConfigError
from elfbench.loading.tokenizer import Tokenizer
from elfbench.spec.card import ModelCard
from elfbench.spec.prompts import is_infill
from elfbench.spec.sampling import LikelihoodBatch, LikelihoodRequest, SampleBatch, SampleRequest, Trace

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from dlm_baselines.dit import Dit
    from dlm_baselines.systems import System


@dataclass(frozen=True, slots=True)
class DiscreteModel:
    """A loaded network and the system that it was trained as."""

    card: ModelCard
    net: Dit
    system: System
    tokenizer: Tokenizer
    device: str

    @property
    def counted(self) -> Module:
        return self.net.vocab_embed

    @property
    def mask_id(self) -> int | None:
        """The mask of an absorbing system; None for a uniform one."""
        return self.card.tokenizer.mask_id

    def sample(self, request: SampleRequest) -> SampleBatch:
        start = time.perf_counter()
        if request.prompts is None:
            ids, nfe = self._sampled(request, None, None)
            seconds = time.perf_counter() - start
            return sample_batch(ids, self.tokenizer, nfe=nfe, positions=nfe * request.length, seconds=seconds)
        rows, passes = self._filled(request, None)
        seconds = time.perf_counter() - start
        if any(is_infill(prompt) for prompt in request.prompts):
            return infilled_batch(rows, self.tokenizer, nfe=passes, seconds=seconds)
        ids = np.stack([row[-request.length :] for row in rows])
        positions = passes * np.array([len(row) for row in rows])
        return continuation_batch(ids, self.tokenizer, nfe=passes, positions=positions, seconds=seconds)

    def draw(self, probabilities: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
        """Ids [N] int64, by the function that the sampler calls."""
        return draw_ids(probabilities, uniforms, self.device)

    @property
    def bound(self) -> Literal["upper"]:
        return "upper"

    def nll(self, request: LikelihoodRequest) -> LikelihoodBatch:
        """Upper bounds, with their Monte-Carlo errors."""
        return score_texts(request, self.tokenizer, self.card.max_length, self._score)

    def _score(self, ids: np.ndarray, seeds: Sequence[int]) -> RowScores:
        import torch

        from dlm_baselines.likelihood import BoundSettings
        from elf_model.training.noise import RowNoise

        rows = torch.from_numpy(ids).to(self.device)
        found = self.system.bound(self.net, rows, mask_id=self.mask_id, noise=RowNoise(seeds), settings=BoundSettings())
        return RowScores(found.nll_nats.cpu().numpy(), found.error_nats.cpu().numpy())

    def trace(self, request: SampleRequest, frames: int) -> Trace:
        """Undecided positions are -1; the last frame is the sample."""
        recorder = Frames(frames, request.steps or 1, self.tokenizer, mask_id=self.mask_id)
        if request.prompts is None:
            return recorder.trace(self._sampled(request, None, recorder)[0])
        rows, _ = self._filled(request, recorder)
        return recorder.trace(np.stack(rows))

    def _filled(self, request: SampleRequest, recorder: Frames | None) -> tuple[list[np.ndarray], np.ndarray]:
        """Whole rows [L_i], and passes [B]. Rows of one length go through the network together."""
        assert request.prompts is not None
        rows = templates(
            request.prompts,
            self.tokenizer,
            length=request.length,
            max_length=self.card.max_length,
            mask_id=self.mask_id,
        )
        passes, lengths = np.zeros(len(rows), dtype=np.int64), np.array([len(row) for row in rows])
        if recorder is not None and len(np.unique(lengths)) > 1:
            raise ConfigError("a trace needs prompts of one length", key="prompts", found=f"{lengths.tolist()} tokens")
        for length in np.unique(lengths):
            same = np.flatnonzero(lengths == length)
            part = replace(
                request,
                rows=tuple(request.rows[i] for i in same),
                seeds=tuple(request.seeds[i] for i in same),
                length=int(length),
                prompts=None,
            )
            ids, nfe = self._sampled(part, np.stack([rows[i] for i in same]), recorder)
            for place, number in enumerate(same):
                rows[number], passes[number] = ids[place], nfe[place]
        return rows, passes

    def _sampled(
        self, request: SampleRequest, template: np.ndarray | None, recorder: Frames | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ids [B, L] and passes [B]; template [B, L]: ids that stay, -1 where open."""
        import torch

        from dlm_baselines.systems import Chain, start
        from elf_model.training.noise import RowNoise

        def on_step(step: int, ids: Tensor) -> None:
            if recorder is not None:
                recorder.record(step, ids.cpu().numpy())

        noise = RowNoise(request.seeds, device=self.device)
        x_start = start(self.net, len(request.rows), request.length, mask_id=self.mask_id, noise=noise)
        given = None
        if template is not None:
            told = torch.from_numpy(template).to(x_start)
            given = told >= 0
            x_start = torch.where(given, told, x_start)
        chain = Chain(
            x_start=x_start,
            given=given,
            mask_id=self.mask_id,
            steps=request.steps or 1,
            noise=noise,
            on_step=on_step if recorder is not None else None,
        )
        done = self.system.sample(self.net, chain, self.card.all_options(request.options))
        return done.ids.cpu().numpy(), done.nfe.cpu().numpy()


@dataclass(frozen=True, slots=True)
class DiscreteEntry:
    """A registered entry with packaged weights; `system` is a name of `dlm_baselines.systems`."""

    card: ModelCard
    system: str
    packaged: Packaged
    text: TrainingText

    def load(self, weights: Path | None = None, device: str = "cpu", dtype: str = "float32") -> DiscreteModel:
        with model_errors(self.card.name, weights):
            import torch

            from dlm_baselines.systems import SYSTEMS
            from dlm_baselines.weights_file import load_weights

            net = load_weights(weights or self.packaged.path).net.to(device=device, dtype=getattr(torch, dtype))
            return DiscreteModel(self.card, net, SYSTEMS[self.system], self.text.tokenizer(), device)

    def toy(self, seed: int) -> DiscreteModel:
        from dlm_baselines.dit import DitConfig, build_dit
        from dlm_baselines.systems import SYSTEMS

        tokenizer, system = sotu.toy_tokenizer(), SYSTEMS[self.system]
        masked = system.state == "absorbing"
        size = tokenizer.vocab_size + masked
        net = randomized(
            build_dit(DitConfig(vocab_size=size, hidden=16, depth=1, heads=2, cond_dim=8), seed=seed), seed
        )
        if self.system.startswith("sedd"):
            _calm(net)
        spec = tokenizer.spec.model_copy(update={"mask_id": tokenizer.vocab_size if masked else None})
        card = self.card.model_copy(update={"tokenizer": spec, "vocab_size": size, "n_params": None})
        return DiscreteModel(card, net, system, tokenizer, "cpu")


def _calm(net: Dit) -> None:
    """Smaller logits: a score is their exponential, and random large ones say that everything changes in the first step."""
    import torch

    with torch.no_grad():
        for parameter in net.output_layer.linear.parameters():
            parameter.mul_(0.1)


def _entry(system: str, text: TrainingText) -> DiscreteEntry:
    packaged, kind = packaged_weights("dlm_baselines", f"{system}-{text.name}"), KINDS[system]
    card = card_of(
        packaged,
        text,
        masked=kind.absorbing,
        implementation=1,
        title=kind.title,
        summary=kind.summary,
        family="discrete",
        tasks=TASKS,
        options=kind.options,
        has_steps=True,
        max_steps=4096,
        citation=kind.citation,
    )
    return DiscreteEntry(card, system, packaged, text)


MDLM_SOTU, MDLM_ORACLE = _entry("mdlm", sotu.TEXT), _entry("mdlm", oracle.TEXT)
D3PM_ORACLE, D3PM_UNIFORM_ORACLE = _entry("d3pm", oracle.TEXT), _entry("d3pm-uniform", oracle.TEXT)
SEDD_ORACLE, SEDD_UNIFORM_ORACLE = _entry("sedd", oracle.TEXT), _entry("sedd-uniform", oracle.TEXT)
DUO_SOTU, DUO_ORACLE = _entry("duo", sotu.TEXT), _entry("duo", oracle.TEXT)

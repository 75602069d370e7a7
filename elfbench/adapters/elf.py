"""ELF entries."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from elfbench.adapters import oracle, sotu
from elfbench.adapters.batches import sample_batch
from elfbench.adapters.tracing import Frames
from elfbench.adapters.trained import Packaged, TrainingText, card_of, model_errors, packaged_weights, randomized
from elfbench.core.errors import ConfigError
from elfbench.loading.tokenizer import Tokenizer
from elfbench.spec.card import ModelCard, OptionSpec
from elfbench.spec.sampling import SampleBatch, SampleRequest, Trace

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from elf_model.network import ElfNetwork


@dataclass(frozen=True, slots=True)
class ElfModel:
    """A loaded ELF."""

    card: ModelCard
    net: ElfNetwork
    tokenizer: Tokenizer
    device: str

    @property
    def counted(self) -> Module:
        return self.net

    def sample(self, request: SampleRequest) -> SampleBatch:
        start = time.perf_counter()
        ids, nfe = self._run(request, None)
        prefix = self._prefix_tokens()
        seconds = time.perf_counter() - start
        return sample_batch(ids, self.tokenizer, nfe=nfe, positions=nfe * (request.length + prefix), seconds=seconds)

    def trace(self, request: SampleRequest, frames: int) -> Trace:
        """Each frame decodes the clean text that the network predicts at that step; the last frame is the sample."""
        recorder = Frames(frames, request.steps or 1, self.tokenizer)
        ids, _ = self._run(request, recorder)
        return recorder.trace(ids)

    def _run(self, request: SampleRequest, recorder: Frames | None) -> tuple[np.ndarray, int]:
        from elf_model.sampler import SamplerSettings, decode, sample
        from elf_model.training.noise import RowNoise

        options: dict[str, Any] = self.card.all_options(request.options)
        settings = SamplerSettings.for_config(
            self.net.config,
            steps=request.steps or 1,
            method=options["method"],
            gamma=options["gamma"],
            self_cond_cfg=options["self_cond_cfg"],
            grid=options["grid"],
            decode_temperature=options["decode_temperature"],
            decode_top_p=options["decode_top_p"],
            **_grid_times(options["grid_times"]),
        )

        def on_step(step: int, x_pred: Tensor) -> None:
            if recorder is not None and recorder.wants(step):
                recorder.record(step, decode(self.net, x_pred, self_cond_cfg=settings.self_cond_cfg).cpu().numpy())

        noise = RowNoise(request.seeds, device=self.device)
        done = sample(
            self.net,
            length=request.length,
            settings=settings,
            noise=noise,
            on_step=on_step if recorder is not None else None,
        )
        return done.ids.cpu().numpy(), done.nfe

    def _prefix_tokens(self) -> int:
        """Time, guidance and mode tokens pass through the network as well."""
        config = self.net.config
        prefix: int = config.num_time_tokens + config.num_self_cond_cfg_tokens + config.num_model_mode_tokens
        return prefix


@dataclass(frozen=True, slots=True)
class ElfEntry:
    """A registered ELF with packaged weights."""

    card: ModelCard
    packaged: Packaged
    text: TrainingText

    def load(self, weights: Path | None = None, device: str = "cpu", dtype: str = "float32") -> ElfModel:
        with model_errors(self.card.name, weights):
            import torch

            from elf_model.model import load_model

            net = load_model(weights or self.packaged.path).net.to(device=device, dtype=getattr(torch, dtype))
            return ElfModel(self.card, net, self.text.tokenizer(), device)

    def toy(self, seed: int) -> ElfModel:
        from elf_model.config import ElfConfig
        from elf_model.network import build_network

        tokenizer = sotu.toy_tokenizer()
        config = ElfConfig(
            vocab_size=tokenizer.vocab_size,
            latent_dim=8,
            hidden=16,
            depth=1,
            heads=2,
            bottleneck_dim=8,
            num_time_tokens=1,
            num_self_cond_cfg_tokens=1,
            num_model_mode_tokens=1,
        )
        card = self.card.model_copy(
            update={"tokenizer": tokenizer.spec, "vocab_size": tokenizer.vocab_size, "n_params": None}
        )
        return ElfModel(card, randomized(build_network(config, seed=seed), seed), tokenizer, "cpu")


def _grid_times(text: str) -> dict[str, float]:
    """The option `grid_times` as settings of the sampler. Raises ConfigError for what is no mean and standard deviation."""
    if text == "trained":
        return {}
    try:
        mean, std = (float(part) for part in text.split(","))
    except ValueError:
        mean, std = 0.0, 0.0
    if not (math.isfinite(mean) and 0.0 < std < math.inf):
        raise ConfigError(
            "no mean and standard deviation",
            key="options.grid_times",
            found=text,
            allowed="'trained', or MEAN,STD with STD > 0",
        )
    return {"grid_mean": mean, "grid_std": std}


_OPTIONS = {
    "method": OptionSpec(
        type="str",
        default="ode",
        choices=("ode", "heun", "sde", "sde_exact", "sde_paper"),
        meaning="Euler ODE; Heun's ODE of two passes per step; the authors' SDE; the same with noise that keeps the path's "
        "variance; the paper's algorithm 6",
    ),
    "gamma": OptionSpec(
        type="float",
        default=0.0,
        minimum=0.0,
        maximum=64.0,
        meaning="noise added back per unit of time by the SDE methods",
    ),
    "self_cond_cfg": OptionSpec(
        type="float", default=1.0, minimum=0.0, maximum=10.0, meaning="guidance scale w of self-conditioning; 1 is none"
    ),
    "grid": OptionSpec(
        type="str",
        default="logit_normal",
        choices=("logit_normal", "logit_normal_quantile", "uniform"),
        meaning="time grid: random logit-normal drawn per row, its quantiles, or uniform",
    ),
    "grid_times": OptionSpec(
        type="str",
        default="trained",
        meaning="the grid's logit-normal as MEAN,STD, e.g. -0.5,1.2; 'trained': that of training",
    ),
    "decode_temperature": OptionSpec(
        type="float",
        default=0.0,
        minimum=0.0,
        maximum=10.0,
        meaning="temperature of the tokens drawn at the end; 0 takes the most probable",
    ),
    "decode_top_p": OptionSpec(
        type="float",
        default=1.0,
        minimum=1e-6,
        maximum=1.0,
        meaning="nucleus that the tokens are drawn from; no effect at decode_temperature 0",
    ),
}


def _entry(text: TrainingText) -> ElfEntry:
    packaged = packaged_weights("elf_model", f"elf-{text.name}")
    card = card_of(
        packaged,
        text,
        implementation=1,
        title="ELF",
        summary="Flow matching in embedding space, discretized at the final step",
        family="continuous",
        options=_OPTIONS,
        has_steps=True,
        max_steps=4096,
        citation="Embedded Language Flows, arXiv 2605.10938",
    )
    return ElfEntry(card, packaged, text)


ELF_SOTU, ELF_ORACLE = _entry(sotu.TEXT), _entry(oracle.TEXT)

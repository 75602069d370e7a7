"""ELF entries."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from elfbench.adapters import oracle, sotu
from elfbench.adapters.batches import sample_batch
from elfbench.adapters.elf_options import OPTIONS, check_whole_shard, sampler_settings
from elfbench.adapters.prompts import continuation_batch, given_ids
from elfbench.adapters.tracing import Frames
from elfbench.adapters.trained import Packaged, TrainingText, card_of, model_errors, packaged_weights, randomized
from elfbench.core.errors import ConfigError
from elfbench.loading.tokenizer import Tokenizer
from elfbench.spec.card import ModelCard
from elfbench.spec.sampling import SampleBatch, SampleRequest, Trace

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from elf_model.encoder import Encoder
    from elf_model.network import ElfNetwork
    from elf_model.settings import SamplerSettings
    from elf_model.training.noise import RowNoise


@dataclass(frozen=True, slots=True)
class ElfModel:
    """A loaded ELF."""

    card: ModelCard
    net: ElfNetwork
    tokenizer: Tokenizer
    device: str
    encoder: Encoder | None = None
    """What turns a prompt into latents; None where the weights came without one."""

    @property
    def counted(self) -> Module:
        return self.net

    def sample(self, request: SampleRequest) -> SampleBatch:
        start = time.perf_counter()
        ids, nfe = self._run(request, None)
        prefix = self._prefix_tokens()
        seconds = time.perf_counter() - start
        if request.prompts is not None:
            positions = nfe * (self.card.max_length + prefix)
            return continuation_batch(ids, self.tokenizer, nfe=nfe, positions=positions, seconds=seconds)
        return sample_batch(ids, self.tokenizer, nfe=nfe, positions=nfe * (request.length + prefix), seconds=seconds)

    def trace(self, request: SampleRequest, frames: int) -> Trace:
        """Each frame decodes the clean text that the network predicts at that step; the last frame is the sample."""
        recorder = Frames(frames, request.steps or 1, self.tokenizer)
        ids, _ = self._run(request, recorder)
        return recorder.trace(ids)

    def _run(self, request: SampleRequest, recorder: Frames | None) -> tuple[np.ndarray, np.ndarray]:
        """Ids [B, L] and forward passes [B]."""
        from elf_model.sampler import decode, decode_scale, sample
        from elf_model.training.noise import RowNoise

        options: dict[str, Any] = self.card.all_options(request.options)
        if options["grid"] == "logit_normal_batch":
            check_whole_shard(request.rows)
        if options["input_cfg"] != 1.0 and request.prompts is None:
            raise ConfigError(
                "guidance by a prompt, but there is none",
                key="options.input_cfg",
                found=options["input_cfg"],
                allowed="1 without prompts",
                remedy="remove the option, or add 'prompts:' to the suite",
            )
        settings = sampler_settings(self.net.config, options, steps=request.steps or 1)

        def on_step(step: int, x_pred: Tensor) -> None:
            if recorder is not None and recorder.wants(step):
                recorder.record(step, decode(self.net, x_pred, self_cond_cfg=decode_scale(settings)).cpu().numpy())

        noise = RowNoise(request.seeds, device=self.device)
        if request.prompts is not None:
            return self._continue(request, settings, noise, truncate=options["truncate_prompt"])
        done = sample(
            self.net,
            length=request.length,
            settings=settings,
            noise=noise,
            on_step=on_step if recorder is not None else None,
        )
        return done.ids.cpu().numpy(), done.nfe.cpu().numpy()

    def _continue(
        self, request: SampleRequest, settings: SamplerSettings, noise: RowNoise, *, truncate: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ids [B, L] of the outputs and forward passes [B]. Rows have the model's whole length, whatever their prompts."""
        from elf_model.conditional import lay_out, sample_targets

        if self.encoder is None:
            raise ConfigError(
                f"{self.card.name} can't read prompts: its weights came without an encoder",
                key="prompts",
                found="no latent table",
                allowed="weights that elfbench train made",
            )
        length, whole = request.length, self.card.max_length
        assert request.prompts is not None
        conditions = given_ids(request.prompts, self.tokenizer, length=length, max_length=whole, truncate=truncate)
        rows = lay_out(conditions, max_length=whole, max_input_length=whole - length, pad_id=self.tokenizer.eos_id)
        rows = type(rows)(*(part.to(self.device) for part in rows))
        done = sample_targets(self.net, self.encoder, rows, length=length, settings=settings, noise=noise)
        return done.ids.cpu().numpy(), done.nfe.cpu().numpy()

    def _prefix_tokens(self) -> int:
        """Time, guidance and mode tokens pass through the network as well."""
        prefix: int = self.net.config.num_prefix_tokens
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

            from elf_model.encoder import TableEncoder
            from elf_model.model import load_model

            loaded = load_model(weights or self.packaged.path)
            net = loaded.net.to(device=device, dtype=getattr(torch, dtype))
            encoder: Any = TableEncoder(loaded.table) if loaded.table is not None else loaded.encoder
            return ElfModel(self.card, net, self.text.tokenizer(), device, encoder and encoder.to(device))

    def toy(self, seed: int) -> ElfModel:
        import torch

        from elf_model.config import ElfConfig
        from elf_model.encoder import TableEncoder
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
        encoder = TableEncoder(torch.randn(config.vocab_size, 8, generator=torch.Generator().manual_seed(seed)))
        return ElfModel(card, randomized(build_network(config, seed=seed), seed), tokenizer, "cpu", encoder)


def _entry(text: TrainingText, *, distilled: bool = False) -> ElfEntry:
    packaged = packaged_weights("elf_model", f"elf-{text.name}{'-pd' if distilled else ''}")
    how = "distilled progressively to one step" if distilled else "discretized at the final step"
    card = card_of(
        packaged,
        text,
        implementation=1,
        title="ELF, distilled" if distilled else "ELF",
        summary=f"Flow matching in embedding space, {how}",
        family="continuous",
        tasks=("unconditional", "prefix"),
        options=OPTIONS,
        has_steps=True,
        max_steps=4096,
        citation="Embedded Language Flows, arXiv 2605.10938",
    )
    return ElfEntry(card, packaged, text)


ELF_SOTU, ELF_ORACLE = _entry(sotu.TEXT), _entry(oracle.TEXT)
ELF_ORACLE_PD = _entry(oracle.TEXT, distilled=True)

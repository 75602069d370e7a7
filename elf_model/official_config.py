"""Configuration files of the authors' PyTorch code: their keys, what they mean for a network, and the refusal of others.

The sizes of a network are fixed by `model` and the encoder's name. No file is read here. Not our own config: see
`elf_model.config`.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from elf_model.config import PRESETS, T5_VOCABULARY, ElfConfig

# The keyword arguments of the authors' network, where they are called otherwise than here.
_NAMES: Mapping[str, str] = {"text_encoder_dim": "latent_dim", "hidden_size": "hidden", "num_heads": "heads"}
_YAML_NAMES: Mapping[str, str] = {
    **_NAMES,
    "denoiser_noise_scale": "noise_scale",
    "time_schedule": "time_distribution",
}

# What a key means that a file leaves out: the defaults of the authors' class, which are not those of the released runs.
_CLASS_DEFAULTS: Mapping[str, int | float | str] = {
    "max_length": 128,
    "bottleneck_dim": 128,
    "num_time_tokens": 4,
    "num_self_cond_cfg_tokens": 4,
    "num_model_mode_tokens": 4,
    "latent_mean": 0.0,
    "latent_std": 1.0,
    "denoiser_noise_scale": 1.0,
    "t_eps": 0.05,
    "time_schedule": "logit_normal",
    "denoiser_p_mean": 0.8,
    "denoiser_p_std": 0.8,
    "decoder_prob": 0.5,
    "decoder_noise_scale": 1.0,
    "decoder_p_mean": 0.8,
    "decoder_p_std": 0.8,
    "label_drop_prob": 0.0,
    "self_cond_prob": 0.5,
    "self_cond_cfg_min": 0.5,
    "self_cond_cfg_max": 5.0,
}
# Sizes that the authors fix by `model` and the encoder; a file may say them to describe another network.
SIZE_KEYS = ("vocab_size", "text_encoder_dim", "hidden_size", "depth", "num_heads", "gelu")
# Choices of ours that are one way in the authors' public code.
_FIXED: Mapping[str, str] = {"prediction": "x", "conditioning": "in_context", "decoder": "shared"}
_ENCODER_WIDTHS = {"t5-small": 512, "t5-base": 768, "t5-large": 1024}
# Data, optimizer, logging, distillation: known, and nothing that a network or a sampler must agree on.
_OTHER_KEYS = """data_path eval_data_path max_input_length pad_token tokenizer_name encoder_model_name encoder_checkpoint model
    attn_dropout proj_dropout epochs warmup_epochs warmup_steps batch_size global_batch_size lr blr min_lr
    lr_schedule weight_decay optimizer adam_b1 adam_b2 grad_accum_steps use_bf16 use_compile gradient_checkpointing
    ema_decay1 sampling_configs_path num_samples online_eval eval_ppl_model eval_ppl_batch_size eval_ppl_max_length
    log_freq eval_freq save_freq output_dir hf_repo_id resume use_wandb wandb_project wandb_entity wandb_run_name
    wandb_tag wandb_resume teacher_path initialize_student_from_teacher teacher_use_ema student_init_from_checkpoint
    pd_teacher_steps pd_step_size pd_student_schedule pd_teacher_schedule seed num_workers"""
CONFIG_KEYS = frozenset(_CLASS_DEFAULTS) | frozenset(SIZE_KEYS) | frozenset(_OTHER_KEYS.split())


class OfficialFileError(ValueError):
    """A file of the authors' layout that is refused; the parts of the message are attributes."""

    def __init__(
        self, message: str, *, key: str, found: object, allowed: Collection[str] | str = "", remedy: str | None = None
    ) -> None:
        self.message, self.key, self.found, self.allowed, self.remedy = message, key, found, allowed, remedy
        super().__init__(f"{message}; found: {found}" + (f"; {remedy}" if remedy else ""))


@dataclass(frozen=True, slots=True)
class OfficialConfig:
    """What a configuration file of the authors says about a network."""

    fields: Mapping[str, Any]
    """Fields of `ElfConfig`; a size that only a file of weights can tell is absent."""
    defaulted: tuple[str, ...]
    """The authors' keys that the file leaves out, so that their class default holds."""


def config_from_official(values: Mapping[str, object]) -> ElfConfig:
    """An `ElfConfig` from the authors' names of the sizes (text_encoder_dim, hidden_size, num_heads, ...)."""
    return ElfConfig.from_dict({_NAMES.get(key, key): value for key, value in values.items()})


def read_official_config(values: Mapping[str, Any]) -> OfficialConfig:
    """The keys of the authors' YAML files. An unknown key, which their code ignores, is an error with the nearest name."""
    for key in values:
        if key not in CONFIG_KEYS:
            near = difflib.get_close_matches(str(key), sorted(CONFIG_KEYS), n=1, cutoff=0.0)[0]
            raise OfficialFileError(
                f"unknown configuration key {key!r}",
                key=str(key),
                found=key,
                allowed=sorted(CONFIG_KEYS),
                remedy=f"did you mean {near!r}? The authors' code ignores a key that it does not know",
            )
    preset = str(values.get("model", "ELF-B"))
    if preset not in PRESETS:
        raise OfficialFileError(f"unknown model {preset!r}", key="model", found=preset, allowed=list(PRESETS))
    encoder = str(values.get("encoder_model_name", "t5-small"))
    fields: dict[str, Any] = dict(PRESETS[preset])
    if encoder in _ENCODER_WIDTHS:
        fields["latent_dim"] = _ENCODER_WIDTHS[encoder]
    if str(values.get("tokenizer_name") or encoder) in _ENCODER_WIDTHS:
        fields["vocab_size"] = T5_VOCABULARY
    said = {key: values[key] for key in (*_CLASS_DEFAULTS, *SIZE_KEYS) if key in values}
    for key, value in said.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise OfficialFileError(f"{key} is not finite", key=key, found=value, allowed="a number")
    fields |= {_YAML_NAMES.get(key, key): value for key, value in {**_CLASS_DEFAULTS, **said}.items()}
    checked_config(fields)
    return OfficialConfig(fields, tuple(key for key in _CLASS_DEFAULTS if key not in values))


def official_config(config: ElfConfig) -> dict[str, Any]:
    """Keys of a YAML file that `read_official_config` reads back as `config`; sizes are said where no preset has them.

    A network that the authors' code cannot build is refused.
    """
    own = config.to_dict()
    for name, theirs in _FIXED.items():
        if own[name] != theirs:
            raise OfficialFileError(
                f"{name} is {own[name]!r}, which the authors' code cannot build",
                key=name,
                found=own[name],
                allowed=[theirs],
                remedy="keep the model in its own format",
            )
    sizes = {name: own[name] for name in ("depth", "hidden", "heads")}
    preset = next((name for name, values in PRESETS.items() if dict(values) == sizes), None)
    encoder = next((name for name, width in _ENCODER_WIDTHS.items() if width == config.latent_dim), None)
    values: dict[str, Any] = {} if preset is None else {"model": preset}
    if encoder is not None:
        values["encoder_model_name"] = encoder
    implied = {"vocab_size": T5_VOCABULARY, "gelu": "tanh"}
    if preset is not None:
        implied |= sizes
    if encoder is not None:
        implied["latent_dim"] = config.latent_dim
    for key in (*SIZE_KEYS, *_CLASS_DEFAULTS):
        name = _YAML_NAMES.get(key, key)
        if own[name] != implied.get(name):
            values[key] = own[name]
    return values


def checked_config(fields: Mapping[str, Any]) -> ElfConfig:
    """An ElfConfig, or the error in the words of the authors' keys."""
    try:
        return ElfConfig(**fields)
    except ValueError as error:
        name = re.match(r"ElfConfig\.(\w+) is ", str(error))
        key = name[1] if name else "configuration"
        key = {ours: theirs for theirs, ours in _YAML_NAMES.items()}.get(key, key)
        said, _, allowed = str(error).partition("; allowed: ")
        found = fields.get(_YAML_NAMES.get(key, key))
        raise OfficialFileError(said.replace("ElfConfig.", ""), key=key, found=repr(found), allowed=allowed) from error

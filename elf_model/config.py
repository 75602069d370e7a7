"""The numbers that define an ELF: sizes, latent normalization, training distributions (arXiv 2605.10938).

The defaults are those of the released OpenWebText runs, not the class defaults of the authors' code, which
never trained a model. Not a recipe: no data, optimizer or schedule of the learning rate.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Literal, get_args

Gelu = Literal["tanh", "erf"]
Prediction = Literal["x", "v", "eps"]
Conditioning = Literal["in_context", "adaln_zero"]
Decoder = Literal["shared", "separate"]
TimeDistribution = Literal["logit_normal", "uniform"]

T5_VOCABULARY = 32_100  # tokens of the T5 tokenizer; the T5 embedding matrix has 32128 rows, ELF's head has not

PRESETS: Mapping[str, Mapping[str, int]] = {
    "ELF-B": {"depth": 12, "hidden": 768, "heads": 12},
    "ELF-M": {"depth": 24, "hidden": 1056, "heads": 16},
    "ELF-L": {"depth": 32, "hidden": 1280, "heads": 16},
}

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "gelu": get_args(Gelu),
    "prediction": get_args(Prediction),
    "conditioning": get_args(Conditioning),
    "decoder": get_args(Decoder),
    "time_distribution": get_args(TimeDistribution),
}
_MAY_BE_ABSENT = ("num_self_cond_cfg_tokens", "num_model_mode_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class ElfConfig:
    """Everything the network, the loss and the samplers must agree on.

    Sizes are counts (`max_length` in tokens); t is in [0, 1] with 0 noise and 1 data; `*_p_mean`, `*_p_std`
    are the parameters of a logit-normal, sigmoid(N(mean, std^2)); `*_prob` are probabilities;
    `self_cond_cfg_min/max` bound the guidance scale w.

    The ablations of the paper are values of the same fields. prediction: what the last layer outputs (appendix
    C.1). conditioning: time, guidance scale and mode as tokens before the text, or as adaLN-Zero; then a number
    of tokens says only whether it is above 0 (appendix C.4). decoder: one trunk for both modes, or a decoder of
    its own (appendix D.3). time_distribution: of training times; `denoiser_p_*` are for the logit-normal.
    num_self_cond_cfg_tokens = 0: w is no input, and training has no guidance in its target.
    num_model_mode_tokens = 0: only t=1 tells decoding from denoising.
    """

    vocab_size: int = T5_VOCABULARY
    latent_dim: int = 512
    hidden: int = 768
    depth: int = 12
    heads: int = 12
    bottleneck_dim: int = 128
    num_time_tokens: int = 4
    num_self_cond_cfg_tokens: int = 4
    num_model_mode_tokens: int = 4
    max_length: int = 1024
    gelu: Gelu = "tanh"
    latent_mean: float = 0.0
    latent_std: float = 0.2
    noise_scale: float = 2.0
    t_eps: float = 0.05
    denoiser_p_mean: float = -1.5
    denoiser_p_std: float = 0.8
    decoder_prob: float = 0.2
    decoder_noise_scale: float = 5.0
    decoder_p_mean: float = 0.8
    decoder_p_std: float = 0.8
    label_drop_prob: float = 0.0
    self_cond_prob: float = 0.5
    self_cond_cfg_min: float = 0.5
    self_cond_cfg_max: float = 5.0
    prediction: Prediction = "x"
    conditioning: Conditioning = "in_context"
    decoder: Decoder = "shared"
    time_distribution: TimeDistribution = "logit_normal"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name in _MAY_BE_ABSENT else 1
            if isinstance(field.default, int) and (type(value) is not int or value < least):
                raise ValueError(f"ElfConfig.{field.name} is {value!r}; allowed: an integer of at least {least}")
            if isinstance(field.default, float) and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise ValueError(f"ElfConfig.{field.name} is {value!r}; allowed: a number")
            if field.name.endswith("_prob") and not 0.0 <= value <= 1.0:
                raise ValueError(f"ElfConfig.{field.name} is {value!r}; allowed: a probability in [0, 1]")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                known = ", ".join(map(repr, allowed))
                raise ValueError(f"ElfConfig.{name} is {getattr(self, name)!r}; allowed: {known}")
        if self.hidden % self.heads or (self.hidden // self.heads) % 2:
            raise ValueError(
                f"ElfConfig.hidden is {self.hidden} with {self.heads} heads; each head needs an even width"
            )
        positive = (
            "latent_std",
            "noise_scale",
            "t_eps",
            "denoiser_p_std",
            "decoder_p_std",
            "self_cond_cfg_min",
        )
        for name in positive:
            if getattr(self, name) <= 0.0:
                raise ValueError(f"ElfConfig.{name} is {getattr(self, name)!r}; allowed: a number above 0")
        if self.self_cond_cfg_max < self.self_cond_cfg_min:
            raise ValueError(f"ElfConfig.self_cond_cfg_max is {self.self_cond_cfg_max!r}, below self_cond_cfg_min")

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads

    @property
    def mlp_dim(self) -> int:
        """Inner width of SwiGLU; truncated as the authors do (3413 for ELF-L)."""
        return int(4 * self.hidden * 2 / 3)

    @property
    def guidance_input(self) -> bool:
        """Whether the guidance scale w of self-conditioning is an input of the network."""
        return self.num_self_cond_cfg_tokens > 0

    @property
    def mode_input(self) -> bool:
        """Whether the trunk is told if it denoises or decodes; with a separate decoder it never decodes."""
        return self.num_model_mode_tokens > 0 and self.decoder == "shared"

    @property
    def num_prefix_tokens(self) -> int:
        """In-context tokens before the text."""
        if self.conditioning == "adaln_zero":
            return 0
        mode_tokens = self.num_model_mode_tokens if self.mode_input else 0
        return self.num_time_tokens + self.num_self_cond_cfg_tokens + mode_tokens

    def to_dict(self) -> dict[str, object]:
        """All fields, as JSON can hold them; the inverse of `from_dict`."""
        return asdict(self)

    @classmethod
    def preset(cls, name: str, **changes: object) -> ElfConfig:
        """The paper's ELF-B, ELF-M or ELF-L, with `changes` to other fields."""
        if name not in PRESETS:
            raise ValueError(f"unknown ELF preset {name!r}; allowed: {', '.join(PRESETS)}")
        return cls.from_dict({**PRESETS[name], **changes})

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> ElfConfig:
        """A config from plain values; an unknown key is an error that names the nearest allowed key."""
        allowed = [field.name for field in fields(cls) if field.init and field.default is not MISSING]
        for key in values:
            if key not in allowed:
                near = difflib.get_close_matches(str(key), allowed, n=1, cutoff=0.0)
                raise ValueError(f"unknown ELF config key {key!r}; nearest allowed key: {near[0]!r}")
        return cls(**values)  # type: ignore[arg-type]  # types and ranges are checked in __post_init__

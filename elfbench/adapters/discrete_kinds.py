"""What cards say of the discrete-diffusion systems: titles, options, papers. No torch; the systems are `dlm_baselines.systems`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from elfbench.adapters.trained import TEMPERATURE, TOP_P
from elfbench.spec.card import OptionSpec, Task

_LAST_STEP = OptionSpec(
    type="str",
    default="sampled",
    choices=("sampled", "greedy"),
    meaning="tokens still masked after the last time: drawn, or the most probable as in the authors' code",
)
_MDLM_METHOD = OptionSpec(
    type="str",
    default="ancestral",
    choices=("ancestral", "first_hitting", "race_float32", "race_float64"),
    meaning="ancestral sampling; first hitting, one position per pass whatever the steps; the authors' exponential race, in their "
    "float32 (which loses the tail as steps grow) or in float64",
)
_SEDD_METHOD = OptionSpec(
    type="str",
    default="analytic",
    choices=("analytic", "euler"),
    meaning="analytic (tau-leaping) steps, the paper's headline, or Euler steps; a denoising step ends both",
)
_DUO_METHOD = OptionSpec(
    type="str",
    default="ancestral",
    choices=("ancestral", "greedy_tail", "psi_max_capped", "psi_max_rescaled"),
    meaning="ancestral sampling; the same with the argmax in the last step; Psi samplers, which re-noise by eta",
)
_ETA = OptionSpec(
    type="float",
    default=0.05,
    minimum=0.0,
    maximum=1.0,
    meaning="re-noising of the Psi samplers; no effect on the others",
)
_LAW = {"temperature": TEMPERATURE, "top_p": TOP_P}


TASKS: tuple[Task, ...] = ("unconditional", "prefix", "infill", "likelihood")


class Kind(NamedTuple):
    """What cards say of a system."""

    title: str
    summary: str
    absorbing: bool
    options: Mapping[str, OptionSpec]
    citation: str


_D3PM_PAPER = "Austin et al. 2021, Structured Denoising Diffusion Models in Discrete State-Spaces, arXiv 2107.03006"
_SEDD_PAPER = (
    "Lou et al. 2024, Discrete Diffusion Modeling by Estimating the Ratios of the Data Distribution, arXiv 2310.16834"
)
KINDS = {
    "mdlm": Kind(
        "MDLM",
        "Masked diffusion (SUBS), ancestral sampler in float64",
        True,
        {"method": _MDLM_METHOD, "last_step": _LAST_STEP, **_LAW},
        "Sahoo et al. 2024, Simple and Effective Masked Diffusion Language Models, arXiv 2406.07524",
    ),
    "d3pm": Kind("D3PM absorb", "Discrete-time masked diffusion that predicts x0", True, _LAW, _D3PM_PAPER),
    "d3pm-uniform": Kind(
        "D3PM uniform", "Discrete-time uniform-state diffusion that predicts x0", False, _LAW, _D3PM_PAPER
    ),
    "sedd": Kind("SEDD absorb", "Score-entropy masked diffusion", True, {"method": _SEDD_METHOD}, _SEDD_PAPER),
    "sedd-uniform": Kind(
        "SEDD uniform", "Score-entropy uniform-state diffusion", False, {"method": _SEDD_METHOD}, _SEDD_PAPER
    ),
    "duo": Kind(
        "Duo",
        "Uniform-state diffusion with the Rao-Blackwellized NELBO",
        False,
        {"method": _DUO_METHOD, "eta": _ETA, **_LAW},
        "Sahoo et al. 2025, The Diffusion Duality, arXiv 2506.10892",
    ),
}

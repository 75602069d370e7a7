"""Protocols of generative perplexity as data: which tokens of a text a judge scores, and how rows become one number.

A protocol's digest is part of the key of what was measured under it and of every score, so numbers of two protocols never meet unseen.
Sources are named by repository and commit; what the original code does on bad input is part of the definition.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from elfbench.core.canonical import digest
from elfbench.core.errors import unknown
from elfbench.spec.record import Record

_PROSE = {"used_by", "source"}


class JudgingProtocol(Record):
    """One way to compute generative perplexity. Everything but the prose is part of its digest."""

    name: str
    used_by: str
    """Whose published numbers follow it."""
    source: str
    """Where it is defined."""
    version: int = Field(default=1, ge=1)
    view: Literal["measure", "final", "raw"]
    """Text that is read: the measure's own choice; cut at the first end-of-text with specials removed; or with specials written out."""
    retokenized: bool
    """The original decodes samples and tokenizes the text with the judge's tokenizer; False: it feeds generated ids as they are."""
    specials: Literal["none", "template"]
    """Special tokens that tokenizing adds: none, or what the tokenizer's template says (nothing, for GPT-2)."""
    start: Literal["none", "separator", "beginning"]
    """A token before the text, context only: none (the first token is context), the judge's document separator, or beginning-of-text."""
    truncation: Literal["refused", "max_length"]
    """Longer texts are an error unless a window cuts them, or lose all ids after the first `max_length`, a start token included: the window,
    else the judge's context."""
    padding: Literal["none", "end_of_text"]
    """end_of_text: rows are padded on the right with end-of-text to the longest row of the corpus, and the scoring rule sees the padding."""
    scored: Literal["all", "first_end_or", "first_end_sum"]
    """Tokens that count, the first position never: all; or those that are not end-of-text (a) and those from the first end-of-text up to the
    second (b), where `or` counts a token of both once and `sum` twice."""
    dtype: Literal["float32"]
    aggregation: Literal["tokens", "mean_of_perplexities", "mean_of_logs"]
    """exp(sum nll / sum tokens); mean over rows of exp(mean nll); exp of the mean over rows of mean nll."""
    batch_size: int | None = Field(default=None, ge=1)
    """Rows in a batch, where the number depends on it: rows after the last whole batch are left out."""
    empty: Literal["dropped", "kept", "refused"]
    """Texts without anything to score: left out (blank ones too), kept as rows without tokens, or an error."""
    entropy_guard: float | None = Field(default=None, ge=0.0)
    """The protocol also reports mean unigram entropies, -sum p ln(p + guard), of the judge's tokens without padding; None: it does not."""

    @property
    def digest(self) -> str:
        """sha256 of the definition."""
        return digest(self.model_dump(mode="json", exclude=_PROSE))

    @property
    def measurement(self) -> str:
        """The name of the stored measurement."""
        return "judge_nll" if self.name == "clean" else f"judge_{self.name}"

    def describe(self) -> dict[str, Any]:
        """The definition with its digest, for a measurement's record."""
        return {**self.model_dump(mode="json", exclude=_PROSE), "digest": self.digest}


CLEAN = JudgingProtocol(
    name="clean",
    used_by="elfbench",
    source="this repository",
    view="measure",
    retokenized=True,
    specials="none",
    start="separator",
    truncation="refused",
    padding="none",
    scored="all",
    dtype="float32",
    aggregation="tokens",
    empty="dropped",
)
# DEVIATION(ELF, pytorch_elf b29d883 src/utils/metrics_utils.py): the PyTorch branch loads the judge in bfloat16, the JAX branch scores in
# float32; float32 here, as bfloat16 rounds differently on every device.
ELF = JudgingProtocol(
    name="elf",
    used_by="ELF (arXiv 2605.10938)",
    source="lillian039/ELF, branch pytorch_elf at b29d883: src/utils/metrics_utils.py, scripts/eval_ppl.py",
    view="final",
    retokenized=True,
    specials="template",
    start="none",
    truncation="max_length",
    padding="end_of_text",
    scored="first_end_sum",
    dtype="float32",
    aggregation="tokens",
    empty="dropped",
    entropy_guard=1e-10,
)
# DEVIATION(Duo, metrics.py record_entropy): Duo takes the entropy of the model's own ids, specials included; a protocol of texts takes that
# of the judge's tokens.
MDLM_DUO = JudgingProtocol(
    name="mdlm_duo",
    used_by="MDLM (arXiv 2406.07524), Duo (arXiv 2506.10892) and code that descends from theirs, e.g. FLM",
    source="s-sahoo/duo at 7c9b498: metrics.py (kuleshov-group/mdlm at c112c52: diffusion.py)",
    view="raw",
    retokenized=True,
    specials="template",
    start="none",
    truncation="max_length",
    padding="end_of_text",
    scored="first_end_or",
    dtype="float32",
    aggregation="tokens",
    batch_size=8,
    empty="kept",
    entropy_guard=0.0,
)
# DEVIATION(SEDD, run_train.py; SDTT): the originals feed generated ids, which are GPT-2's own; here the text with specials written out is
# tokenized by the judge, so an id sequence that its tokenizer would not make of that text is scored in the tokenizer's form.
# DEVIATION(SEDD, run_train.py): fewer samples than a batch divide by zero there; here they are one batch, as in Duo.
SEDD = JudgingProtocol(
    name="sedd",
    used_by="SEDD (arXiv 2310.16834)",
    source="louaaron/Score-Entropy-Discrete-Diffusion at 0605786: run_train.py, eval.perplexity_batch_size of configs/config.yaml",
    view="raw",
    retokenized=False,
    specials="none",
    start="none",
    truncation="refused",
    padding="none",
    scored="all",
    dtype="float32",
    aggregation="mean_of_perplexities",
    batch_size=32,
    empty="refused",
)
SDTT = JudgingProtocol(
    name="sdtt",
    used_by="SDTT (arXiv 2410.21035)",
    source="jdeschena/sdtt at 9172b86",
    view="raw",
    retokenized=False,
    specials="none",
    start="none",
    truncation="refused",
    padding="none",
    scored="all",
    dtype="float32",
    aggregation="mean_of_logs",
    empty="refused",
)
# DEVIATION(evaluate, perplexity.py): without max_length the original truncates nothing and fails in the judge beyond its context; here the
# judge's context is the max_length.
# DEVIATION(evaluate, perplexity.py): the float32 loss there reads logits with the vocabulary in the middle, where torch rounds the sum: at
# 49,152 tokens its perplexities come out about 1e-4 of their value smaller.
HF_EVALUATE = JudgingProtocol(
    name="hf_evaluate",
    used_by="metric `perplexity` of the library evaluate, with its default add_start_token=True",
    source="huggingface/evaluate at a7dd338: perplexity.py",
    view="measure",
    retokenized=True,
    specials="none",
    start="beginning",
    truncation="max_length",
    padding="none",
    scored="all",
    dtype="float32",
    aggregation="mean_of_perplexities",
    empty="refused",
)
PROTOCOLS = {one.name: one for one in (CLEAN, ELF, MDLM_DUO, SEDD, SDTT, HF_EVALUATE)}
"""All of them by name."""
BY_MEASUREMENT = {one.measurement: one for one in PROTOCOLS.values() if one is not CLEAN}
"""By the name of their measurement. `clean` is not here: `judge_nll` is older than these records, and its key stays as it was."""


def judging_protocol(name: str) -> JudgingProtocol:
    """The protocol `name`. Raises ConfigError with the nearest name for an unknown one."""
    if name not in PROTOCOLS:
        raise unknown("protocol of gen_ppl", name, PROTOCOLS, key="protocol")
    return PROTOCOLS[name]

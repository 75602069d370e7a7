"""What is built in, as strings, and where plug-ins join: entry-point groups elfbench.models, .metrics, .featurizers, .suites,
or a --plugin file.
"""

from __future__ import annotations

import runpy
from functools import cache
from pathlib import Path

from elfbench.core.errors import ConfigError
from elfbench.registry.registry import Registry
from elfbench.registry.variants import under_instrument
from elfbench.spec.instruments import Featurizer, Judge
from elfbench.spec.metric import Metric
from elfbench.spec.sampling import ModelEntry
from elfbench.spec.suite import SPEED_METRICS

_MODELS = {
    "elf-sotu": "elfbench.adapters.elf:ELF_SOTU",
    "mdlm-sotu": "elfbench.adapters.discrete:MDLM_SOTU",
    "ar-sotu": "elfbench.adapters.ar:AR_SOTU",
    "real-text": "elfbench.adapters.controls:REAL_TEXT",
    "shuffled": "elfbench.adapters.controls:SHUFFLED",
    "tiled": "elfbench.adapters.controls:TILED",
    "phrase-bank": "elfbench.adapters.controls:PHRASE_BANK",
    "ngram-copy": "elfbench.adapters.adversarial:NGRAM_COPY",
    "predictable-nonsense": "elfbench.adapters.adversarial:PREDICTABLE_NONSENSE",
    "unigram": "elfbench.adapters.ngram:UNIGRAM",
    "bigram": "elfbench.adapters.ngram:BIGRAM",
    "trigram": "elfbench.adapters.ngram:TRIGRAM",
    "elf-oracle": "elfbench.adapters.elf:ELF_ORACLE",
    "elf-oracle-pd": "elfbench.adapters.elf:ELF_ORACLE_PD",
    "mdlm-oracle": "elfbench.adapters.discrete:MDLM_ORACLE",
    "d3pm-oracle": "elfbench.adapters.discrete:D3PM_ORACLE",
    "d3pm-uniform-oracle": "elfbench.adapters.discrete:D3PM_UNIFORM_ORACLE",
    "sedd-oracle": "elfbench.adapters.discrete:SEDD_ORACLE",
    "sedd-uniform-oracle": "elfbench.adapters.discrete:SEDD_UNIFORM_ORACLE",
    "duo-sotu": "elfbench.adapters.discrete:DUO_SOTU",
    "duo-oracle": "elfbench.adapters.discrete:DUO_ORACLE",
    "ar-oracle": "elfbench.adapters.ar:AR_ORACLE",
    "exact-oracle": "elfbench.adapters.oracle_controls:EXACT",
    "mdlm-exact-oracle": "elfbench.adapters.oracle_exact:MASKED",
    "elf-exact-oracle": "elfbench.adapters.oracle_exact:FLOW",
    "unigram-oracle": "elfbench.adapters.oracle_controls:UNIGRAM",
    "bigram-oracle": "elfbench.adapters.oracle_controls:BIGRAM",
    "hf:": "elfbench.adapters.hf:open_entry",
    "mdlm:": "elfbench.adapters.official:MDLM",
    "sedd:": "elfbench.adapters.official:SEDD",
    "duo:": "elfbench.adapters.official:DUO",
    "ar:": "elfbench.adapters.official:AR",
}
_BROKEN = ("subject_verb", "determiner_noun", "article", "pronoun", "name", "bracket", "word_order")
_GEN_PPL = ("elf", "mdlm_duo", "sedd", "sdtt", "hf_evaluate")
_NOVELTY = (2, 3, 4, 5, 6, 7, 8)
_SANITY = ("empty", "short", "truncated", "replacement", "leftover")
_PRDC = ("precision", "recall", "density", "coverage")
_METRICS = {
    "gen_ppl": "elfbench.metrics.gen_ppl:GEN_PPL",
    **{f"gen_ppl_{name}": f"elfbench.metrics.gen_ppl_protocols:GEN_PPL_{name.upper()}" for name in _GEN_PPL},
    "bits_per_byte": "elfbench.metrics.gen_ppl:BITS_PER_BYTE",
    "nll_bits_per_byte": "elfbench.metrics.likelihood:NLL_BITS_PER_BYTE",
    "unigram_entropy": "elfbench.metrics.entropy:UNIGRAM_ENTROPY",
    "unigram_entropy_elf": "elfbench.metrics.gen_ppl_protocols:UNIGRAM_ENTROPY_ELF",
    "unigram_entropy_mdlm_duo": "elfbench.metrics.gen_ppl_protocols:UNIGRAM_ENTROPY_MDLM_DUO",
    **{f"distinct_{n}": f"elfbench.metrics.distinct:DISTINCT_{n}" for n in (1, 2, 3, 4)},
    **{f"rep_{n}": f"elfbench.metrics.repetition:REP_{n}" for n in (2, 3, 4)},
    "corpus_entropy": "elfbench.metrics.entropy:CORPUS_ENTROPY",
    "unique_share": "elfbench.metrics.unique:UNIQUE_SHARE",
    **{f"ngram_entropy_{n}": f"elfbench.metrics.ngram_entropy:NGRAM_ENTROPY_{n}" for n in (2, 3)},
    "ead": "elfbench.metrics.ead:EAD",
    "mattr": "elfbench.metrics.mattr:MATTR",
    "self_bleu": "elfbench.metrics.self_bleu:SELF_BLEU",
    "zipf_exponent": "elfbench.metrics.zipf:ZIPF",
    "compression_ratio": "elfbench.metrics.compression:COMPRESSION_RATIO",
    "vendi": "elfbench.metrics.vendi:VENDI",
    "near_duplicates": "elfbench.metrics.near_duplicates:NEAR_DUPLICATES",
    "oracle_nll": "elfbench.metrics.oracle:ORACLE_NLL",
    "oracle_kl": "elfbench.metrics.oracle:ORACLE_KL",
    "grammatical": "elfbench.metrics.oracle:GRAMMATICAL",
    "novel_sentences": "elfbench.metrics.oracle:NOVEL_SENTENCES",
    **{f"broken_{rule}": f"elfbench.metrics.oracle:BROKEN_{rule.upper()}" for rule in _BROKEN},
    "mauve": "elfbench.metrics.mauve:MAUVE",
    "mauve_star": "elfbench.metrics.mauve_star:MAUVE_STAR",
    "mauve_text": "elfbench.metrics.mauve_text:MAUVE_TEXT",
    "frontier_integral": "elfbench.metrics.frontier_integral:FRONTIER_INTEGRAL",
    "energy_distance": "elfbench.metrics.energy_distance:ENERGY_DISTANCE",
    "typicality": "elfbench.metrics.typicality:TYPICALITY",
    "frechet_distance": "elfbench.metrics.frechet_distance:FRECHET_DISTANCE",
    "c2st": "elfbench.metrics.c2st:C2ST",
    "judge_rank_divergence": "elfbench.metrics.judge_ranks:JUDGE_RANK_DIVERGENCE",
    "gradient_moment": "elfbench.metrics.gradient_moment:GRADIENT_MOMENT",
    **{f"prdc_{kind}": f"elfbench.metrics.prdc:PRDC_{kind.upper()}" for kind in _PRDC},
    "longest_match": "elfbench.metrics.memorization:LONGEST_MATCH",
    **{f"novelty_{n}": f"elfbench.metrics.memorization:NOVELTY_{n}" for n in _NOVELTY},
    **{f"{name}_share": f"elfbench.metrics.sanity:{name.upper()}_SHARE" for name in _SANITY},
    "nonfinite_share": "elfbench.metrics.sanity:NONFINITE_SHARE",
    "foreign_script_share": "elfbench.metrics.sanity:FOREIGN_SCRIPT_SHARE",
    "oracle_nll_given": "elfbench.metrics.oracle_given:ORACLE_NLL_GIVEN",
    "grammatical_given": "elfbench.metrics.oracle_given:GRAMMATICAL_GIVEN",
    "bleu": "elfbench.metrics.bleu:BLEU",
    "bleu_elf": "elfbench.metrics.bleu:BLEU_ELF",
    **{f"rouge_{kind}": f"elfbench.metrics.rouge:ROUGE_{kind.upper()}" for kind in ("1", "2", "l")},
    "chrf": "elfbench.metrics.chrf:CHRF",
    "bleu_mbr": "elfbench.metrics.mbr:BLEU_MBR",
    "evaluate:": "elfbench.metrics.hf_evaluate:open_metric",
    "exact_match": "elfbench.metrics.exact_match:EXACT_MATCH",
    "nfe": "elfbench.metrics.cost:NFE",
    "positions": "elfbench.metrics.cost:POSITIONS",
    "tokens_per_second": "elfbench.metrics.cost:TOKENS_PER_SECOND",
    **{name: f"elfbench.metrics.throughput:{name.upper()}" for name in SPEED_METRICS},
}
_FAMILIES = {
    "speed": SPEED_METRICS,
    "memorization": ("longest_match", *(f"novelty_{n}" for n in _NOVELTY)),
    "novelty": tuple(f"novelty_{n}" for n in _NOVELTY),
    "sanity": tuple(f"{name}_share" for name in _SANITY),
    "distinct": tuple(f"distinct_{n}" for n in (1, 2, 3, 4)),
    "rep_n": tuple(f"rep_{n}" for n in (2, 3, 4)),
    "ngram_entropy": tuple(f"ngram_entropy_{n}" for n in (2, 3)),
    "rouge": tuple(f"rouge_{kind}" for kind in ("1", "2", "l")),
    "prdc": tuple(f"prdc_{kind}" for kind in _PRDC),
    "broken": tuple(f"broken_{rule}" for rule in _BROKEN),
}
_JUDGES = {
    "smollm2-135m-instruct-q4": "elfbench.judges.smollm2:SMOLLM2",
    "gpt2": "elfbench.judges.hub:GPT2",
    "gpt2-large": "elfbench.judges.hub:GPT2_LARGE",
    "hf:": "elfbench.judges.causal:open_judge",
    "entry:": "elfbench.adapters.entry_judge:open_judge",
}
_FEATURIZERS = {
    "minilm": "elfbench.judges.minilm:MINILM",
    "smollm2-135m-instruct-q4": "elfbench.judges.smollm2_features:LAST",
    "smollm2-135m-instruct-q4#mean": "elfbench.judges.smollm2_features:MEAN",
    "gpt2-large": "elfbench.judges.gpt2_features:GPT2_LARGE",
    "hf:": "elfbench.judges.encoder:open_featurizer",
}


@cache
def models() -> Registry[ModelEntry]:
    """Model entries."""
    return Registry("model", _MODELS, "elfbench.models")


@cache
def metrics() -> Registry[Metric]:
    """Metrics; `NAME@INSTRUMENT` is one under another judge or featurizer than the suite's."""
    return Registry("metric", _METRICS, "elfbench.metrics", variant=_variant, groups=_FAMILIES)


def _variant(metric: Metric, instrument: str) -> Metric:
    return under_instrument(metric, instrument, {"judge": judges(), "featurizer": featurizers()})


@cache
def judges() -> Registry[Judge]:
    """Judges: causal language models."""
    return Registry("judge", _JUDGES)


@cache
def featurizers() -> Registry[Featurizer]:
    """Text encoders for distributional metrics."""
    return Registry("featurizer", _FEATURIZERS, "elfbench.featurizers")


@cache
def suites() -> Registry[Path]:
    """Suites of installed packages, as paths; the built-in ones are files (see `running.suites`)."""
    return Registry("suite", {}, "elfbench.suites")


def expand_metrics(name: str) -> tuple[str, ...]:
    """A family's members (`distinct` -> distinct_1 .. distinct_4), each under the instrument that `FAMILY@INSTRUMENT` names; or the metric
    itself."""
    family, at, instrument = name.partition("@")
    if family not in _FAMILIES:
        return (name,)
    return tuple(f"{member}{at}{instrument}" for member in _FAMILIES[family])


def metric_families() -> dict[str, tuple[str, ...]]:
    """Family -> members."""
    return dict(_FAMILIES)


def load_plugin(file: Path) -> None:
    """Runs a plug-in file and registers what its `MODELS`, `METRICS`, `FEATURIZERS` and `SUITES` mappings (name -> object) hold."""
    if not file.is_file():
        raise ConfigError("no such plug-in file", key="--plugin", found=str(file), allowed="a Python file")
    content = runpy.run_path(str(file))
    places: dict[str, Registry] = {  # type: ignore[type-arg]
        "MODELS": models(),
        "METRICS": metrics(),
        "FEATURIZERS": featurizers(),
        "SUITES": suites(),
    }
    found = [name for name in places if name in content]
    if not found:
        raise ConfigError(
            "a plug-in file that registers nothing", key="--plugin", found=file.name, allowed=tuple(places)
        )
    for place in found:
        for name, thing in content[place].items():
            places[place].add(name, thing, owner=file.name)

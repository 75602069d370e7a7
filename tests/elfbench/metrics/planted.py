"""Faults planted into measured columns, and which of them each metric of the catalog must see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from made_rows import ORDERS, WINDOW, Columns, taken

Plant = Callable[[Columns, float], Columns]
"""(columns, amount in [0, 1]) -> columns that are the worse the larger the amount; 0 leaves them alone."""


def more(*names: str) -> Plant:
    """Larger by the amount."""
    return lambda columns, amount: columns | {name: columns[name] * (1.0 + amount) for name in names}


def less(*names: str) -> Plant:
    """Smaller by the amount."""
    return lambda columns, amount: columns | {name: columns[name] * (1.0 - amount) for name in names}


def hit(name: str, value: Any) -> Plant:
    """That share of the rows has `value`."""

    def plant(columns: Columns, amount: float) -> Columns:
        n = round(amount * len(columns[name]))
        rest = columns[name][n:]
        held = [value] * n
        return columns | {
            name: held + rest if isinstance(rest, list) else np.concatenate([np.array(held, float), rest])
        }

    return plant


def loops(columns: Columns, amount: float) -> Columns:
    """The first part of every text repeats its first two tokens."""
    ids = [np.concatenate([np.resize(row[:2], cut := int(amount * len(row))), row[cut:]]) for row in columns["ids"]]
    return columns | {"ids": ids}


def copies(columns: Columns, amount: float) -> Columns:
    """The first texts are one text, the longest, so that there are no fewer tokens."""
    n = len(columns["ids"])
    order = np.arange(n)
    order[: round(amount * n)] = int(np.argmax([len(row) for row in columns["ids"]]))
    return taken(columns, order)


def steeper(columns: Columns, amount: float) -> Columns:
    """That share of the rarer tokens becomes the most frequent one; every token still occurs."""
    flat = np.concatenate(columns["ids"])
    rare = (flat > 25) & (flat < 200) & (np.arange(len(flat)) % 10 < 10 * amount)
    rare[np.unique(flat, return_index=True)[1]] = False
    ends = np.cumsum([len(row) for row in columns["ids"]])
    return columns | {"ids": np.split(np.where(rare, 1, flat), ends[:-1])}


def shifted(name: str) -> Plant:
    """All features drift away, every other one downwards: across the direction in which made-up vectors differ."""
    return lambda columns, amount: (
        columns | {name: columns[name] + 1.6 * amount * (-1.0) ** np.arange(columns[name].shape[1])}
    )


def drawn_together(columns: Columns, amount: float) -> Columns:
    """All vectors approach their mean."""
    vectors = columns["vector"]
    return columns | {"vector": (1.0 - amount) * vectors + amount * vectors.mean(axis=0)}


def more_broken(columns: Columns, amount: float) -> Columns:
    """Every rule is broken more often."""
    return columns | {"broken": [row + amount for row in columns["broken"]]}


def less_likely(columns: Columns, amount: float) -> Columns:
    """That share of the tokens of every rank becomes one of the last ranks."""
    moved = [np.floor(amount * row).astype(np.int64) for row in columns["rank_counts"]]
    last = np.arange(len(moved[0])) == len(moved[0]) - 1
    return columns | {
        "rank_counts": [row - cut + last * cut.sum() for row, cut in zip(columns["rank_counts"], moved, strict=True)]
    }


SEEN: dict[str, tuple[Plant, int]] = {
    **dict.fromkeys(("gen_ppl", "bits_per_byte", "nll_bits_per_byte", "oracle_nll", "oracle_kl", "oracle_nll_given"), (more("nll_nats"), +1)),
    **dict.fromkeys([f"gen_ppl_{name}" for name in ("elf", "mdlm_duo", "sedd", "sdtt", "hf_evaluate")], (more("nll_nats"), +1)),
    **dict.fromkeys(("unigram_entropy_elf", "unigram_entropy_mdlm_duo"), (less("entropy"), -1)),
    **dict.fromkeys(("unigram_entropy", "mattr"), (loops, -1)),
    **dict.fromkeys(("rep_2", "rep_3", "rep_4"), (loops, +1)),
    **dict.fromkeys(("ngram_entropy_2", "ngram_entropy_3", "ead", "unique_share"), (copies, -1)),
    **dict.fromkeys([f"distinct_{order}" for order in (1, 2, 3, 4)], (copies, -1)),
    **dict.fromkeys(("self_bleu", "near_duplicates", "compression_ratio"), (copies, +1)),
    "zipf_exponent": (steeper, +1),
    "corpus_entropy": (steeper, -1),
    **dict.fromkeys(("vendi", "prdc_recall"), (drawn_together, -1)),
    **dict.fromkeys(("mauve", "mauve_star", "typicality"), (shifted("vector"), -1)),
    **dict.fromkeys(("prdc_precision", "prdc_density", "prdc_coverage"), (shifted("vector"), -1)),
    **dict.fromkeys(("frontier_integral", "frechet_distance", "c2st"), (shifted("vector"), +1)),
    "energy_distance": (shifted("surface"), +1),
    "gradient_moment": (shifted("gradient"), +1),
    "judge_rank_divergence": (less_likely, +1),
    **dict.fromkeys(("grammatical", "grammatical_given"), (less("n_grammatical"), -1)),
    "novel_sentences": (less("n_novel"), -1),
    **dict.fromkeys(
        [f"broken_{rule}" for rule in ("subject_verb", "determiner_noun", "article", "pronoun", "name", "bracket", "word_order")],
        (more_broken, +1),
    ),
    "longest_match": (more("longest"), +1),
    **{f"novelty_{order}": (less(f"novel_{order}"), -1) for order in ORDERS},
    "empty_share": (hit("n_visible", 0), +1),
    "short_share": (hit("n_tokens", 1), +1),
    "truncated_share": (hit("n_tokens", 2 * WINDOW), +1),
    "replacement_share": (hit("n_replacement", 1), +1),
    "leftover_share": (hit("n_leftovers", 1), +1),
    "nonfinite_share": (hit("nll_nats", np.nan), +1),
    "foreign_script_share": (hit("scripts", "THAI=2"), +1),
    **dict.fromkeys(("bleu", "bleu_elf", "bleu_mbr"), (less(*(f"matches_{order}" for order in (1, 2, 3, 4))), -1)),
    **{name: (less(name), -1) for name in ("rouge_1", "rouge_2", "rouge_l")},
    "chrf": (less(*(f"match_{order}" for order in range(1, 7))), -1),
    "exact_match": (hit("exact_match", 0), -1),
    "nfe": (more("nfe"), +1),
    "positions": (more("positions"), +1),
    "tokens_per_second": (more("shard_seconds"), -1),
    **dict.fromkeys(("throughput_best", "throughput_batch_1", "flop_utilization"), (more("seconds"), -1)),
    "latency_batch_1": (more("seconds"), +1),
    "peak_memory": (more("memory_peak"), +1),
    "nfe_counted": (more("passes", "nfe"), +1),
}  # fmt: skip
"""Metric -> the fault that it must see, and where its value must go: for lower and higher the bad way, which the tests hold against the
declared direction; for match the way that its page says."""

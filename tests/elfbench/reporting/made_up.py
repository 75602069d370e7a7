"""A store of a made-up suite: nll per row, without a model or a judge."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from elfbench.spec.cell import Cell
from elfbench.spec.metric import Score
from elfbench.store.blocks import BLOCK_ROWS, block_keys
from elfbench.store.shards import text_table
from elfbench.store.store import Store

TOKENS = 10
MEASURE = {"view": "final", "tokenizer": "judge", "window": None, "short": "drop"}


def _metric(name: str, digest: str) -> dict[str, Any]:
    measurement = {"measurement": "judge_nll", "version": 1, "judge": {"name": "j", "title": "J", "digest": digest}}
    return {
        "metric": name, "version": 1, "title": name.replace("_", " "), "unit": "u", "direction": "match" if name == "pooled" else "lower",
        "description": "", "fingerprint": f"{name}-{digest}", "protocol": {"measurement": measurement, "metric": name, "parameters": {}, "interval": {"level": 0.95, "seed": 0}},
        "n_requested": 500, "needs_reference": False,
    }  # fmt: skip


def synthetic(
    root: Path,
    rows: dict[tuple[str, str, int | None], np.ndarray],
    *,
    seeds: dict[str, int] | None = None,
    digest: str = "d1",
    pooled: dict[str, tuple[float, float]] | None = None,
    empty: dict[str, int] | None = None,
    options: dict[str, dict[str, Any]] | None = None,
    clusters: int = 1,
) -> Store:
    """A store of a made-up suite. rows: (label, family, steps) -> nll per row, of 10 tokens each; row number `empty` has none.

    pooled: value and half width of a metric without rows, by label; a label that is not there lacks it.
    clusters: what the scores say of rows that are not independent.
    """
    store = Store.create(root)
    described = [_metric(name, digest) for name in ("gen_ppl", "bits_per_byte", "pooled")]
    cells = []
    for (label, family, steps), nll in rows.items():
        cell = Cell(
            model=label.lower(), revision="1", implementation=1, weights_digest=None, tokenizer_digest="t", length=8, steps=steps,
            root_seed=(seeds or {}).get(label, 0), options=(options or {}).get(label, {}),
        )  # fmt: skip
        store.add_cell(cell)
        texts = [f"{label} {steps} {i}" for i in range(len(nll))]
        for part in store.missing(cell.id, len(texts)):
            store.write_shard(cell.id, part, text_table(part, texts[part.start : part.stop]), {})
        scored = np.full(len(nll), TOKENS)
        if empty and label in empty:
            scored[empty[label]] = 0
        for number, key in enumerate(block_keys(described[0]["protocol"]["measurement"], texts)):
            place = slice(number * BLOCK_ROWS, (number + 1) * BLOCK_ROWS)
            table = {
                "n_tokens": scored,
                "nll_nats": nll * (scored > 0),
                "n_scored": scored,
                "n_bytes_scored": 5 * scored,
            }
            store.write_measurement(key, pa.table({name: column[place] for name, column in table.items()}), {})
        values = {"gen_ppl": (math.exp(nll.mean() / TOKENS), 1.0), "bits_per_byte": (1.0, 0.1)}
        if label in (pooled or {}):
            values["pooled"] = (pooled or {})[label]
        for metric in described:
            if metric["metric"] in values:
                value, half = values[metric["metric"]]
                score = Score(
                    cell=cell.id, metric=metric["metric"], version=1, protocol=metric["protocol"], fingerprint=metric["fingerprint"],
                    value=value, low=value - half, high=value + half, level=0.95, n=len(nll), n_requested=500, n_dropped=0, unit="u",
                    method="m", covers="c", detail={"cluster_rows": clusters} if clusters > 1 else {}, rows_digest="r", reference_digest=None,
                )  # fmt: skip
                store.write_score(score, f"{cell.id[:40]}{metric['metric'].encode().hex():0<40}"[:64])
        cells.append(
            {
                "cell": cell.id, "model": cell.model, "label": label, "family": family, "steps": steps, "options": dict(cell.options),
                "n_rows": len(nll), "n_params": None,
            }
        )  # fmt: skip
    document = {"suite": "made-up", "version": 1, "title": "T", "description": "", "measure": MEASURE}
    store.write_suite(
        "made-up", {"suite": document, "command": "c", "cells": cells, "metrics": described, "reference": None}
    )
    return store

"""`NAME@INSTRUMENT`: a metric under another judge or featurizer than the suite's. Nothing is opened here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from elfbench.core.errors import ConfigError
from elfbench.registry.registry import Registry
from elfbench.spec.metric import Metric

Instrument = Literal["judge", "featurizer"]


def instrument_of(measurement: str) -> Instrument | None:
    """Which instrument a measurement reads; None: neither."""
    if measurement.startswith("judge_"):
        return "judge"
    return "featurizer" if measurement == "features" else None


def under_instrument(metric: Metric, instrument: str, registries: Mapping[Instrument, Registry[Any]]) -> Metric:
    """`metric` with the measurement of another judge or featurizer; its protocols are then under that one, too. A folder is `hf:FOLDER`.

    Raises ConfigError where it reads neither, and for an unknown name.
    """
    kind = instrument_of(metric.measurement)
    if kind is None:
        raise ConfigError(
            f"{metric.name} reads no judge or featurizer",
            key="metric",
            found=f"{metric.name}@{instrument}",
            allowed="NAME@INSTRUMENT for metrics that a judge or a featurizer measures, such as gen_ppl and mauve",
            remedy=metric.name,
        )
    if instrument and instrument not in registries[kind] and Path(instrument).is_dir():
        instrument = f"hf:{instrument}"
    registries[kind].owner(instrument)  # raises for an unknown name, and opens nothing
    return replace(
        metric,
        name=f"{metric.name}@{instrument}",
        title=f"{metric.title} ({instrument})",
        of=f"{metric.of}@{instrument}" if metric.of else "",
        protocols={protocol: f"{name}@{instrument}" for protocol, name in metric.protocols.items()},
    )

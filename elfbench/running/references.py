"""What samples are compared with: held-out text as a whole, or a text beside every row; and the protocols that a
metric has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elfbench.core.canonical import digest, text_digest
from elfbench.core.errors import ConfigError, suggestion
from elfbench.registry import catalog
from elfbench.spec.metric import Metric


@dataclass(frozen=True, slots=True)
class Reference:
    """Texts that metrics compare with: held-out ones, or one for every row, in row order."""

    name: str
    texts: tuple[str, ...]
    draws: int = 1
    """Rows in turn that are of one example, where every row has a text."""

    @property
    def digest(self) -> str:
        return digest([text_digest(text) for text in self.texts])

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "rows": len(self.texts), "digest": self.digest}


Targets = Mapping[str, Reference]
"""`output`: the reference of every row, `input`: its prompt."""


def paired_texts(metric: Metric, targets: Targets, n: int) -> Reference:
    """The texts beside the first `n` rows that a paired metric reads.

    Raises ConfigError where there are none, or too few.
    """
    assert metric.paired is not None
    found = targets.get(metric.paired)
    if found is None:
        file = ", or --reference FILE with one row per sample" if metric.paired == "output" else ""
        raise ConfigError(
            f"{metric.name} reads every row beside its own {'reference' if metric.paired == 'output' else 'prompt'}",
            key="reference" if metric.paired == "output" else "prompts",
            found="none",
            remedy=f"add 'prompts:' to the suite{file}",
        )
    if len(found.texts) < n:
        raise ConfigError(
            f"{metric.name} reads every row beside a text of its own",
            key="reference",
            found=f"{len(found.texts)} rows",
            allowed=f"{n} rows, in the order of the samples",
        )
    return found


def under_protocol(metric: Metric, protocol: str) -> Metric:
    """The metric as `protocol` computes it; asked for `clean`, which every suite says by default, a metric stays what
    it is.

    Raises ConfigError for a protocol that it does not have.
    """
    if protocol in (metric.protocol, "clean"):
        return metric
    if protocol not in metric.protocols:
        allowed = (metric.protocol, *metric.protocols)
        raise ConfigError(
            f"a protocol that {metric.name} does not have",
            key=f"{metric.name}.protocol",
            found=protocol,
            allowed=allowed,
            remedy=suggestion(protocol, allowed),
        )
    return catalog.metrics().get(metric.protocols[protocol])

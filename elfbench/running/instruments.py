"""The instruments of one run: judge, featurizer and measuring tokenizer, opened when first needed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from elfbench.core.errors import ConfigError
from elfbench.judges.measuring import open_tokenizer
from elfbench.registry import catalog
from elfbench.spec.instruments import Featurizer, Judge, MeasuringTokenizer
from elfbench.spec.measure import Measure


@dataclass(frozen=True)
class Instruments:
    """Names from the suite or the command line; things on demand."""

    measure: Measure
    judge_name: str | None
    featurizer_name: str | None

    @cached_property
    def judge(self) -> Judge:
        if self.judge_name is None:
            raise ConfigError(
                "no judge was named",
                key="judge",
                allowed=catalog.judges().names(),
                remedy="add 'judge: NAME' to the suite, or --judge NAME",
            )
        return catalog.judges().get(self.judge_name)

    @cached_property
    def featurizer(self) -> Featurizer:
        if self.featurizer_name is None:
            raise ConfigError(
                "no featurizer was named",
                key="featurizer",
                allowed=catalog.featurizers().names(),
                remedy="add 'featurizer: NAME' to the suite, or --featurizer NAME",
            )
        return catalog.featurizers().get(self.featurizer_name)

    @cached_property
    def tokenizer(self) -> MeasuringTokenizer:
        if self.measure.tokenizer == "judge":
            return self.judge.tokenizer()
        return open_tokenizer(self.measure.tokenizer)

"""The instruments of one run: judge, featurizer, measuring tokenizer and training text, opened when first needed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from elfbench.core.errors import ConfigError
from elfbench.judges.measuring import open_tokenizer
from elfbench.metrics.suffixes import SuffixIndex, suffix_index
from elfbench.registry import catalog
from elfbench.running.training_text import TrainingText, training_text
from elfbench.spec.instruments import Featurizer, Judge, MeasuringTokenizer
from elfbench.spec.measure import Measure
from elfbench.spec.suite import SuiteTraining


@dataclass(frozen=True)
class Instruments:
    """Names from the suite or the command line; things on demand."""

    measure: Measure
    judge_name: str | None
    featurizer_name: str | None
    training_source: SuiteTraining | None = None

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

    @cached_property
    def training(self) -> TrainingText:
        if self.training_source is None:
            raise ConfigError(
                "no training text was named",
                key="training",
                found="none",
                remedy="add 'training: {corpus: NAME, split: train}' to the suite, or --training CORPUS[:SPLIT]",
            )
        return training_text(self.training_source)

    @cached_property
    def training_index(self) -> SuffixIndex:
        """Its documents under the measuring tokenizer."""
        return suffix_index(self.tokenizer.encode(self.training.texts()))

"""The instruments of one run: judge, featurizer, measuring tokenizer and training text, opened when first needed; and those of a metric
under another instrument, `NAME@INSTRUMENT`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from elfbench.core.errors import ConfigError
from elfbench.judges.measuring import open_tokenizer
from elfbench.metrics.suffixes import SuffixIndex, suffix_index
from elfbench.registry import catalog
from elfbench.registry.registry import variant_parts
from elfbench.registry.variants import instrument_of
from elfbench.running.cut_judge import CutJudge
from elfbench.running.training_text import TrainingText, training_text
from elfbench.spec.instruments import Featurizer, Judge, MeasuringTokenizer
from elfbench.spec.measure import Measure
from elfbench.spec.metric import Metric
from elfbench.spec.suite import SuiteTraining


@dataclass(frozen=True)
class Instruments:
    """Names from the suite or the command line; things on demand."""

    measure: Measure
    judge_name: str | None
    featurizer_name: str | None
    training_source: SuiteTraining | None = None
    own: Instruments | None = None
    """Those of the suite, where these are of a metric under another instrument: they still measure lengths and cut texts."""

    @cached_property
    def judge(self) -> Judge:
        """The judge; another one than the suite's sees texts that were cut for it."""
        judge = self._named_judge
        if self.cutter is None:
            return judge
        assert self.measure.window is not None
        return CutJudge(judge, self.cutter, self.measure.window)

    @property
    def cutter(self) -> MeasuringTokenizer | None:
        """Whose first tokens a window takes, where it isn't the judge itself: the suite's judge, as that cuts its texts by its own tokens, so
        that both judge the same text; without one, the measuring tokenizer.
        """
        if self.own is None or self.measure.window is None:
            return None
        return self.own.tokenizer if self.own.judge_name is None else self.own.judge.tokenizer()

    @cached_property
    def _named_judge(self) -> Judge:
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
        if self.own is not None:
            return self.own.tokenizer
        if self.measure.tokenizer == "judge":
            if self.judge_name is None:
                raise ConfigError(
                    "texts are measured in the judge's tokens, and no judge was named",
                    key="measure.tokenizer",
                    found="judge",
                    allowed="judge, beside a judge; words; or a folder",
                    remedy="add 'judge: NAME' to the suite, or 'tokenizer: words' to its measure",
                )
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

    def of_metric(self, metric: Metric) -> tuple[Metric, Instruments]:
        """`metric` and the instruments that it reads: these, or those that `NAME@INSTRUMENT` names. The metric then has its canonical name."""
        parts = variant_parts(metric.name)
        if parts is None:
            return metric, self
        named = catalog.metrics().get(canonical_name(metric.name))
        if instrument_of(metric.measurement) == "judge":
            return named, replace(self, judge_name=parts[1], own=self)
        return named, replace(self, featurizer_name=parts[1], own=self)


def canonical_name(name: str) -> str:
    """A metric's or a family's name as stores hold it: an instrument is called as it calls itself, so that no path is in it."""
    member = catalog.metrics().get(catalog.expand_metrics(name)[0]) if {"@", ":"} & set(name) else None
    parts = variant_parts(member.name) if member else None
    if member is None or parts is None:
        return member.name if member else name
    judged = instrument_of(member.measurement) == "judge"
    instrument = catalog.judges().get(parts[1]) if judged else catalog.featurizers().get(parts[1])
    return f"{name.partition('@')[0]}@{instrument.name}"

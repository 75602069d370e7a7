"""A suite: which entries under which settings, measured how, against what. Versioned data, one YAML file each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator, model_validator

from elfbench.core.canonical import digest
from elfbench.spec.card import OptionValue
from elfbench.spec.cell import Numerics
from elfbench.spec.measure import Measure
from elfbench.spec.prompts import PromptTask
from elfbench.spec.record import Record

LIKELIHOOD_METRIC = "nll_bits_per_byte"
"""The metric that reads the block `likelihood`."""
SPEED_METRICS = (
    "throughput_best",
    "throughput_batch_1",
    "latency_batch_1",
    "peak_memory",
    "flop_utilization",
    "nfe_counted",
)
"""The metrics that read the block `timing`; `speed` names all of them."""


class SuiteModel(Record):
    """One entry in a suite; `steps` is a grid, options hold for all of it."""

    name: str
    label: str | None = None
    """How tables call it; default: the card's title."""
    steps: tuple[int, ...] | None = None
    options: Mapping[str, OptionValue] = Field(default_factory=dict)
    numerics: Numerics = Numerics()
    weights: str | None = None
    """A weights file in place of the entry's own; identity uses its digest, never its path."""

    @field_validator("steps")
    @classmethod
    def _positive(cls, steps: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if steps is not None and (not steps or min(steps) < 1):
            raise ValueError("steps is a list of numbers of sampling steps, each >= 1")
        return steps


class SuiteMetric(Record):
    """One metric, or a family (`distinct`), on the first `rows` rows (default: the suite's)."""

    name: str
    rows: int | None = Field(default=None, ge=1)
    protocol: str = "clean"


class SuiteReference(Record):
    """The held-out text that distributional metrics compare with."""

    corpus: str
    split: str
    tokenizer: str
    """Windows of `length` tokens of this tokenizer, decoded."""
    rows: int = Field(ge=1)


class SuiteTraining(Record):
    """The text that memorization is measured against: whole documents of a split, under the measuring tokenizer."""

    corpus: str
    """A corpus, or `oracle`: the training set of the oracle language's entries."""
    split: str = "train"


class SuiteLikelihood(Record):
    """Held-out text whose likelihood every model that scores text is asked for: the same windows for all models."""

    corpus: str
    """A corpus, or `oracle`: exact windows of the oracle language."""
    split: str
    tokenizer: str
    """Windows of `length` tokens of this tokenizer, decoded; each model scores the text under its own."""
    rows: int = Field(ge=2)
    length: int = Field(ge=1)


class SuiteTiming(Record):
    """How sampling is timed, in cells of their own and with nothing beside it: every row of the table at every batch size."""

    batches: tuple[int, ...] = Field(default=(1, 16, 64), min_length=1)
    """Rows sampled together, ascending; per-text latency needs 1 among them."""
    repeats: int = Field(default=6, ge=3, le=64)
    """Timed runs, each of rows of its own. From 6 on, the least and the most enclose the median with 95 %."""
    warmup: int = Field(default=1, ge=0)
    """Runs before them that count for nothing."""

    @field_validator("batches")
    @classmethod
    def _ascending(cls, batches: tuple[int, ...]) -> tuple[int, ...]:
        if min(batches) < 1 or list(batches) != sorted(set(batches)):
            raise ValueError("batches are numbers of rows, each >= 1, ascending and different")
        return batches


class SuitePrompts(Record):
    """What rows are given: exactly one of `file` and `generated`. Row r belongs to example r // draws."""

    file: str | None = None
    """JSONL, one example a line; a path relative to the suite file."""
    generated: str | None = None
    """A set that elfbench makes itself: `oracle-continuation`, `oracle-reversal`."""
    input: str = "input"
    """The field of what is given."""
    output: str = "output"
    """The field of the reference."""
    task: PromptTask = "seq2seq"
    """Of a file; a generated set has its own."""
    draws: int = Field(default=1, ge=1)
    """Rows per example."""

    @model_validator(mode="after")
    def _one_source(self) -> SuitePrompts:
        if (self.file is None) == (self.generated is None):
            raise ValueError("exactly one of 'file' and 'generated'")
        if self.generated is not None and self.model_fields_set & {"input", "output", "task"}:
            raise ValueError("a generated set has its own task and fields: only 'draws' goes with 'generated'")
        return self


class LossGate(Record):
    """A metric that is a ratio of sums over rows; a loss is a change to the worse, relative to the baseline's value."""

    metric: str
    margin: float = Field(default=0.05, gt=0.0, lt=1.0)
    """The gate passes where the loss is surely below this."""
    least: float = Field(default=0.01, ge=0.0, lt=1.0)
    """A sure loss smaller than this is no failure."""


class FloorGate(Record):
    """A line that may not be crossed, whatever the other rows, cells and gates say: the alarm for a collapse."""

    metric: str
    share: float = Field(gt=0.0, lt=1.0)
    """The floor as a share of the baseline's value."""


class SuiteGates(Record):
    """What `elfbench check` decides of every cell of the suite."""

    loss: tuple[LossGate, ...] = Field(min_length=1)
    floor: tuple[FloorGate, ...] = ()
    alpha: float = Field(default=0.0025, gt=0.0, le=0.05)
    """Chance that an honest run fails, over all gates and looks together."""
    first_rows: int = Field(ge=32)
    """Fewest rows of a decision, and the first look of `run --until-decided`."""


class PanelBand(Record):
    """Where a metric accepts a row: its interval reaches into [low, high]. An absent end is open."""

    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _some_values_are_outside(self) -> PanelBand:
        if self.low is None and self.high is None:
            raise ValueError("a band has 'low', 'high' or both")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        return self


class SuitePanel(Record):
    """Bands, fixed before controls are sampled, at which real text is accepted: the report tells which metric rejects which control."""

    bands: Mapping[str, PanelBand] = Field(min_length=1)
    """By metric."""
    controls: tuple[str, ...] = ()
    """Labels of rows that count as controls though their entry is a model, such as a cold sampler."""


class Suite(Record):
    """A whole suite."""

    suite: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    version: int = Field(ge=1)
    title: str
    description: str = ""
    length: int = Field(ge=1)
    """New tokens of each entry's own tokenizer."""
    rows: int = Field(ge=1)
    seed: int = Field(default=0, ge=0)
    level: float = Field(default=0.95, gt=0.5, lt=1.0)
    measure: Measure = Measure()
    judge: str | None = None
    featurizer: str | None = None
    reference: SuiteReference | None = None
    training: SuiteTraining | None = None
    """The text that `longest_match` and `novelty_n` look samples up in."""
    prompts: SuitePrompts | None = None
    """What rows are given; their outputs are the references of paired metrics such as BLEU."""
    likelihood: SuiteLikelihood | None = None
    """Text that models score, in cells of their own; read by the metric `nll_bits_per_byte`."""
    timing: SuiteTiming | None = None
    """How sampling is timed; read by `throughput_best` and the other metrics of speed."""
    models: tuple[SuiteModel, ...] = Field(min_length=1)
    metrics: tuple[SuiteMetric, ...] = Field(min_length=1)
    gates: SuiteGates | None = None
    """Its gates, for a suite that CI decides by; `rows` is then the most that a decision may take."""

    panel: SuitePanel | None = None
    """Bands that tell controls from real text."""

    @model_validator(mode="after")
    def _panel_is_measured(self) -> Suite:
        if self.panel is None:
            return self
        measured = {metric.name for metric in self.metrics}
        if unmeasured := sorted(self.panel.bands.keys() - measured):
            raise ValueError(
                f"panel.bands: {unmeasured[0]} is not among the metrics by its own name: add it to 'metrics'"
            )
        labels = {model.label for model in self.models}
        if unknown := [label for label in self.panel.controls if label not in labels]:
            raise ValueError(f"panel.controls: no model has the label {unknown[0]!r}: give the row that 'label'")
        return self

    @model_validator(mode="after")
    def _likelihood_is_read(self) -> Suite:
        if self.likelihood is not None and all(metric.name != LIKELIHOOD_METRIC for metric in self.metrics):
            raise ValueError(
                f"'likelihood' is read by the metric {LIKELIHOOD_METRIC}: add '- name: {LIKELIHOOD_METRIC}'"
            )
        return self

    @model_validator(mode="after")
    def _timing_is_read(self) -> Suite:
        names = {metric.name for metric in self.metrics}
        if self.timing is None:
            return self
        if not names & {*SPEED_METRICS, "speed"}:
            raise ValueError("'timing' is read by metrics of speed, and there is none: add '- name: speed'")
        alone = sorted(names & {"speed", "throughput_batch_1", "latency_batch_1"})
        if alone and 1 not in self.timing.batches:
            raise ValueError(f"timing.batches: {alone[0]} needs batch 1: add it to {list(self.timing.batches)}")
        return self

    @property
    def digest(self) -> str:
        """sha256 of the suite's content."""
        return digest(self.document())

    def document(self) -> dict[str, Any]:
        """The content; a suite without one of the keys below has the document, and the digest, of before there was one."""
        absent = {
            name for name in ("prompts", "likelihood", "training", "panel", "timing") if getattr(self, name) is None
        }
        return self.model_dump(mode="json", exclude=absent or None)

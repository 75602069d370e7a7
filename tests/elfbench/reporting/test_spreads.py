from __future__ import annotations

from elfbench.metrics.quantization import covers
from elfbench.reporting.caption import caption
from elfbench.reporting.section import ScoredCell, Section
from elfbench.reporting.spreads import spread_sentences
from elfbench.spec.metric import Score


def _section(k_of_rows: dict[str, list[int]]) -> Section:
    """A section in which row i of a metric rests on k_of_rows[metric][i] clusters."""

    def scored(name: str, k: int) -> Score:
        return Score(
            cell="c", metric=name, version=2, protocol={}, fingerprint=name, value=0.5, low=0.4, high=0.6, level=0.95, n=9, n_requested=9,
            n_dropped=0, unit="", method="test", covers=covers(k), detail={}, rows_digest="r", reference_digest=None,
        )  # fmt: skip

    cells = [
        ScoredCell(
            id=str(row), model="m", label="m", family="control", steps=None, options={}, n_rows=9, n_params=None,
            scores={name: ("key", scored(name, clusters[row])) for name, clusters in k_of_rows.items()},
        )
        for row in range(len(next(iter(k_of_rows.values()))))
    ]  # fmt: skip
    metrics = tuple(
        {
            "metric": name, "title": name.upper(), "direction": "higher", "needs_reference": False,
            "protocol": {"measurement": {"measurement": "features"}, "interval": {"level": 0.95}},
        }
        for name in k_of_rows
    )  # fmt: skip
    suite = {"suite": "s", "title": "A suite", "version": 1}
    return Section(suite=suite, command="", cells=tuple(cells), metrics=metrics, reference=None, id="s-1")


def test_the_caption_names_bars_that_are_no_intervals() -> None:
    section = _section({"mauve": [6, 26, 6], "mauve_star": [25, 25, 25], "frontier_integral": [26, 40, 500]})
    assert spread_sentences(section) == [
        "Spread, not confidence interval: the bars of MAUVE (2 of 3 rows), MAUVE_STAR (all rows)."
    ]
    assert spread_sentences(section)[0] in caption(section)
    assert spread_sentences(_section({"mauve": [26, 26]})) == []

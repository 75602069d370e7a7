"""Which bars of a table are spreads: simulation found that they hold what they estimate in less than 90 of 100 cases, and their score says so."""

from __future__ import annotations

from elfbench.reporting.section import Section

PREFIX = "spread: "
"""What the text of a score's `covers` begins with where its bar is no confidence interval."""


def spread_sentences(section: Section) -> list[str]:
    """For the caption: the metrics with such bars, and in how many rows; none where there are none."""
    told = []
    for metric in section.metrics:
        scores = [score for cell in section.cells if (score := cell.value(metric["metric"])) is not None]
        spreads = sum(score.covers.startswith(PREFIX) for score in scores)
        if spreads:
            told.append(
                f"{metric['title']} ({'all rows' if spreads == len(scores) else f'{spreads} of {len(scores)} rows'})"
            )
    return [f"Spread, not confidence interval: the bars of {', '.join(told)}."] if told else []

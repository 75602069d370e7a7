"""The panel against held-out text, from texts to scores: equal lengths are held, and the ceiling is other text."""

from __future__ import annotations

import numpy as np
import pytest

import elfbench
from elfbench.adapters import sotu
from elfbench.core.errors import ConfigError
from elfbench.spec.measure import Measure

WINDOW = Measure(tokenizer="words", window=8, short="drop")


def _texts(
    seed: int, n: int, words: int, vocabulary: str = "we the people hold these truths long established"
) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(vocabulary.split(), size=words)) + "." for _ in range(n)]


def _energy(texts: list[str], reference: list[str], measure: Measure | None) -> float:
    frame = elfbench.score(texts, ["energy_distance"], reference=reference, measure=measure)
    (row,) = frame.to_dict("records")
    assert row["low"] <= row["value"] <= row["high"]
    return float(row["value"])


def test_energy_distance_sees_the_window_only() -> None:
    reference = _texts(0, 40, 20)
    near, far = _texts(1, 40, 20), _texts(1, 40, 20, "a an incomprehensibilities antidisestablishmentarianism")
    assert abs(_energy(near, reference, WINDOW)) < 0.2
    assert _energy(far, reference, WINDOW) > 1.0
    # What lies behind the window does not count.
    longer = [text[:-1] + " and so on, and so on." for text in near]
    assert _energy(longer, reference, WINDOW) == pytest.approx(_energy(near, reference, WINDOW))


def test_texts_of_another_length_are_refused_without_a_window() -> None:
    with pytest.raises(ConfigError, match=r"differ in length(.|\n)*--window 21"):
        _energy(_texts(1, 40, 40), _texts(0, 40, 20), None)


def test_real_text_and_the_references_share_no_window() -> None:
    """Real against real is a ceiling only where it is a comparison of different text."""
    held_out, reference = (
        {row.tobytes() for row in sotu.pinned_windows(split, 64)} for split in ("heldout", "reference")
    )
    assert held_out
    assert reference
    assert not held_out & reference

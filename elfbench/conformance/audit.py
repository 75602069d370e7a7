"""Sampling audit: with which probability a categorical draw picks ids of the tail, counted and not sampled.

A generator has finitely many uniforms (2^53 in float64, 2^24 in float32), so a draw's probabilities are counts of them. A draw by one
uniform gets its intervals measured by bisection. The historical draw of masked diffusion, a float32 race argmax p / (1e-10 - log(u + 1e-10))
(MDLM and SEDD code; Zheng et al. 2024, arXiv 2409.02908), takes one uniform per id: its law is summed over the grid. Not a test of whole
models, nor of where a sampler takes its uniforms from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Draw = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(probabilities [N, V] float64, uniforms [N] float64 in [0, 1)) -> ids [N]."""

VOCABULARY = 50_257
TAIL = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
TOLERANCE = 1e-6
"""Relative. Rounding in float64 costs 1e-8 at a probability of 1e-7; float32 costs up to 0.6 there."""

_FLOAT64_GRID = 2**53
_FLOAT32_GRID = 2**24


@dataclass(frozen=True, slots=True)
class TailAudit:
    """Probabilities [V] as they should be and as they are drawn."""

    due: np.ndarray
    drawn: np.ndarray

    @property
    def never_due(self) -> float:
        """Probability of drawing an id whose probability is 0."""
        return float(self.drawn[self.due == 0].sum())

    @property
    def worst(self) -> tuple[float, float]:
        """(probability due, drawn / due) of the id whose ratio is farthest from 1."""
        due, drawn = self.due[self.due > 0], self.drawn[self.due > 0]
        at = int(np.abs(drawn / due - 1.0).argmax())
        return float(due[at]), float(drawn[at] / due[at])

    @property
    def passed(self) -> bool:
        return self.never_due == 0.0 and abs(self.worst[1] - 1.0) <= TOLERANCE


def audit_tail(draw: Draw) -> TailAudit:
    """Measures `draw` on `tail_law()`. Raises ValueError when ids have no intervals of uniforms."""
    law = tail_law()
    return TailAudit(law, drawn_probabilities(draw, law))


def tail_law() -> np.ndarray:
    """Probabilities [VOCABULARY]: every one of TAIL twice, each between two heads that share the rest unequally; all others are 0."""
    tail = np.array(TAIL * 2)
    heads = 1.0 / np.arange(1.0, len(tail) + 2.0)
    law = np.zeros(VOCABULARY)
    ids = np.linspace(0, VOCABULARY - 1, len(tail) + len(heads)).astype(np.int64)
    law[ids[::2]] = heads / heads.sum() * (1.0 - tail.sum())
    law[ids[1::2]] = tail
    return law


def drawn_probabilities(draw: Draw, probabilities: np.ndarray) -> np.ndarray:
    """Share [V] of the 2^53 float64 uniforms at which `draw` picks each id, given probabilities [V].

    Walks from interval to interval and finds each end by bisection, so ids may come in any order. Raises ValueError when the draw is no
    inverse distribution function (over twice as many intervals as ids of positive probability, or another id inside of one), or when an
    id is none of the V.
    """
    row = probabilities[None]
    most = 2 * int((probabilities > 0).sum())
    counts = np.zeros(len(probabilities), dtype=np.int64)
    start = 0
    for _ in range(most):
        chosen, low, high = _pick(draw, row, start), start, _FLOAT64_GRID
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _pick(draw, row, middle) == chosen else (low, middle)
        if not 0 <= chosen < len(counts):
            raise ValueError(f"the draw gave id {chosen} for {len(counts)} probabilities")
        if any(_pick(draw, row, start + (high - start) * part // 16) != chosen for part in (3, 7, 12)):
            raise ValueError(
                f"uniforms that pick id {chosen} are no interval: the draw is no inverse distribution function"
            )
        counts[chosen] += high - start
        start = high
        if start == _FLOAT64_GRID:
            return counts / _FLOAT64_GRID
    raise ValueError(f"uniforms fall into more than {most} intervals: the draw is no inverse distribution function")


def float32_race_probability(weights: np.ndarray, winner: int) -> float:
    """Probability in [0, 1] that id `winner` wins the float32 race among weights [V] >= 0 (any total); meant for few, distinct rivals.

    Sums, over all values of the winner's uniform, the probability that each rival's score is lower (or equal, at a higher index: argmax takes
    the first). Fast where the winner's weight is small, as only its highest uniforms can win.
    """
    rivals = [rival for rival in np.flatnonzero(weights > 0).tolist() if rival != winner]
    weights = weights.astype(np.float32)
    lowest = max((float(_race_scores(weights[rival], np.zeros(1))[0]) for rival in rivals), default=0.0)
    first = int(_first_reaching(weights[winner], np.array([lowest], dtype=np.float32), strictly=False)[0])
    scores = _race_scores(weights[winner], np.arange(first, _FLOAT32_GRID))
    chance = np.ones(len(scores))
    for rival in rivals:
        chance *= _first_reaching(weights[rival], scores, strictly=rival > winner) / _FLOAT32_GRID
    return float(chance.sum() / _FLOAT32_GRID)


def float32_unmasking_ratio(probability: float, steps: int) -> float:
    """Drawn / due of a token of that probability against the mask, in the first of `steps` steps of MDLM's float32 sampler.

    From t=1 (fully masked) to 1 - 1/steps the mask keeps weight 1 - 1/steps and the token has probability / steps. The cut is deepest there:
    later steps weigh the mask by t - 1/steps.
    """
    weights = np.array([probability / steps, 1.0 - 1.0 / steps])
    return float32_race_probability(weights, 0) * float(weights.sum() / weights[0])


def _pick(draw: Draw, row: np.ndarray, number: int) -> int:
    """The id at uniform `number` / 2^53, an exact float64."""
    return int(draw(row, np.array([number / _FLOAT64_GRID]))[0])


def _race_scores(weight: np.float32, numbers: np.ndarray) -> np.ndarray:
    """Scores float32 of the authors' race at uniforms `numbers` / 2^24; they rise with the uniform."""
    uniforms, tiny = (numbers / _FLOAT32_GRID).astype(np.float32), np.float32(1e-10)
    scores: np.ndarray = weight / (tiny - np.log(uniforms + tiny))
    return scores


def _first_reaching(weight: np.float32, scores: np.ndarray, *, strictly: bool) -> np.ndarray:
    """Per score, how many of the 2^24 uniforms give a lower score (`strictly`: a lower or an equal one) to that weight."""
    low, high = np.zeros(len(scores), dtype=np.int64), np.full(len(scores), _FLOAT32_GRID)
    while (low < high).any():
        # Where low = high, the answer, nothing may move: the middle can then be one past the grid.
        middle, active = (low + high) // 2, low < high
        found = _race_scores(weight, np.minimum(middle, _FLOAT32_GRID - 1))
        above = (found > scores) if strictly else (found >= scores)
        low, high = np.where(active & ~above, middle + 1, low), np.where(active & above, middle, high)
    return high

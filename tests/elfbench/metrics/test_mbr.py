from __future__ import annotations

import numpy as np
import pytest

from elfbench.core.errors import ConfigError
from elfbench.metrics.mbr import BLEU_MBR, joined_draws, mbr_counts, mbr_picks
from elfbench.metrics.pairs import EXAMPLE
from elfbench.spec.metric import EstimateContext, Rows

WORDS = ["the", "a", "cat", "dog", "sat", "ran", "on", "in", "mat", "park"]


def _draws(examples: int, draws: int) -> tuple[list[str], list[str]]:
    rng = np.random.default_rng(11)
    references = [list(rng.choice(WORDS, 9)) for _ in range(examples)]
    texts = [
        " ".join(word if rng.random() < 0.7 else str(rng.choice(WORDS)) for word in references[row // draws])
        for row in range(examples * draws)
    ]
    return texts, [" ".join(references[row // draws]) for row in range(examples * draws)]


def _rows(texts: list[str], references: list[str], draws: int) -> Rows:
    columns = mbr_counts(joined_draws(texts, references, draws))
    n = len(texts)
    return Rows({**columns, EXAMPLE: np.arange(n) // draws}, n, n, 0)


@pytest.mark.parametrize("rows", [20, 18])  # 18: the last example has two of its four draws
def test_the_kept_draws_are_those_of_brute_force(rows: int) -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    texts, references = (part[:rows] for part in _draws(5, 4))
    chosen = []
    for example in range(5):
        own = range(4 * example, min(4 * example + 4, rows))
        scores = []
        for row in own:
            others = [texts[other] for other in own if other != row]
            scores.append(np.mean([sacrebleu.sentence_bleu(texts[row], [other]).score for other in others]))
        chosen.append(own[int(np.argmax(scores))])
    expected = sacrebleu.corpus_bleu([texts[row] for row in chosen], [[references[row] for row in chosen]])
    found = BLEU_MBR.estimate(_rows(texts, references, 4), None, EstimateContext())
    assert found.value == pytest.approx(expected.score, abs=1e-9)
    assert found.low <= found.value <= found.high
    assert (found.detail["draws"], found.detail["examples"]) == (4, 5)
    every = sacrebleu.corpus_bleu(texts, [references]).score
    assert found.detail["bleu_of_all_draws"] == pytest.approx(every, abs=1e-9)
    corpus = BLEU_MBR.corpus
    assert corpus is not None
    sums = corpus.statistics(_rows(texts, references, 4)).sum(axis=0)
    assert corpus.of_sums(sums[None])[0] == pytest.approx(expected.score, abs=1e-9)


def test_of_equal_draws_the_first_is_kept() -> None:
    assert mbr_picks(np.array([1.0, 3.0, 3.0, 0.0, 2.0, 2.0]), np.array([0, 0, 0, 1, 1, 1])).tolist() == [1, 4]
    pytest.importorskip("sacrebleu")
    texts = ["the cat sat on a mat", "the dog ran in the park", "the cat sat on a mat", "the cat sat on the mat"]
    utility = mbr_counts(joined_draws(texts, [""] * 4, 4))["utility"]
    assert utility[0] == utility[2]
    assert mbr_picks(utility, np.zeros(4, dtype=np.int64)).tolist() == [0]


def test_one_draw_leaves_nothing_to_choose() -> None:
    pytest.importorskip("sacrebleu")
    with pytest.raises(ConfigError, match=r"several draws of every example, and there is one: set prompts\.draws"):
        BLEU_MBR.estimate(_rows(*_draws(3, 1), 1), None, EstimateContext())

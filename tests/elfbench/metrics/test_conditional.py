from __future__ import annotations

import numpy as np
import pytest

from elfbench.core.errors import ConfigError, PrerequisiteError
from elfbench.metrics import pairs as pairs_module
from elfbench.metrics.bleu import BLEU, BLEU_ELF, COUNTS, bleu_counts, bleu_of_counts
from elfbench.metrics.chrf import CHRF, chrf_counts
from elfbench.metrics.exact_match import EXACT_MATCH, exact_rows
from elfbench.metrics.pairs import EXAMPLE, joined, parted
from elfbench.metrics.rouge import KINDS, ROUGE_1, ROUGE_2, ROUGE_L, rouge_rows
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows

WORDS = [
    "the",
    "a",
    "The",
    "cat",
    "dog",
    "sat",
    "ran",
    "on",
    "in",
    "mat,",
    "park.",
    "Running",
    "runs",
    "it's",
    "U.S.",
    "3.5",
    "naïve",
]


def _texts(seed: int, n: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, size=rng.integers(0, 14))) for _ in range(n)]


def _pairs(seed: int, n: int = 30) -> tuple[list[str], list[str]]:
    """Samples that share half of their words with their references; some are empty."""
    rng = np.random.default_rng(seed)
    references, other = _texts(seed, n), _texts(seed + 1000, n)
    samples = []
    for one, two in zip(references, other, strict=True):
        cut = rng.integers(0, 10)
        samples.append(" ".join((one.split()[:cut] + two.split())[: rng.integers(0, 14)]))
    return samples, references


CORPORA = [
    *(_pairs(seed) for seed in range(6)),
    (["one two", "three"], ["one two", "three four"]),  # no sample has four words
    (["a b c d e", "x y"], ["a x b y c", "q r s t u"]),  # orders without a match
    (["nothing shared"], ["at all here"]),
    (["", ""], ["some words", "more words"]),
]


def _estimate(metric: Metric, columns: dict[str, np.ndarray]) -> Estimate:
    n = len(next(iter(columns.values())))
    return metric.estimate(Rows(columns, n, n, 0), None, EstimateContext())


@pytest.mark.parametrize("corpus", CORPORA)
@pytest.mark.parametrize("lowercase", [False, True])
def test_bleu_of_our_sums_is_that_of_sacrebleu(corpus: tuple[list[str], list[str]], lowercase: bool) -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    samples, references = corpus
    columns = bleu_counts(samples, references, lowercase=lowercase)
    pooled = np.array([[columns[name].sum() for name in COUNTS]])
    for effective_order in (False, True):
        theirs = sacrebleu.corpus_bleu(samples, [references], lowercase=lowercase, use_effective_order=effective_order)
        ours = bleu_of_counts(pooled, effective_order=effective_order)[0]
        assert ours == pytest.approx(theirs.score, abs=1e-9)


@pytest.mark.parametrize(("metric", "lowercase"), [(BLEU, False), (BLEU_ELF, True)])
def test_a_protocol_has_the_signature_of_sacrebleu_and_its_jackknife_leaves_rows_out(
    metric: Metric, lowercase: bool
) -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    samples, references = _pairs(3)
    scorer = sacrebleu.BLEU(lowercase=lowercase, effective_order=lowercase)
    value = scorer.corpus_score(samples, [references])
    named = str(scorer.get_signature()).rpartition("|version:")[0]
    assert metric.parameters["signature"] == named
    found = _estimate(metric, bleu_counts(samples, references, lowercase=lowercase))
    assert found.value == pytest.approx(value.score, abs=1e-9)
    assert found.detail["brevity_penalty"] == pytest.approx(value.bp)
    assert [found.detail[f"precision_{n}"] for n in range(1, 5)] == pytest.approx(
        [100 * c / t for c, t in zip(value.counts, value.totals, strict=True)]
    )
    n = len(samples)
    without = np.array(
        [
            scorer.corpus_score(samples[:i] + samples[i + 1 :], [references[:i] + references[i + 1 :]]).score
            for i in range(n)
        ]
    )
    error = np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum())
    from scipy.stats import t

    half = t.ppf(0.975, n - 1) * error
    assert found.low == pytest.approx(max(0.0, value.score - half), abs=1e-6)
    assert found.high == pytest.approx(min(100.0, value.score + half), abs=1e-6)


@pytest.mark.parametrize("corpus", CORPORA)
def test_chrf_is_that_of_sacrebleu(corpus: tuple[list[str], list[str]]) -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    samples, references = corpus
    if len(samples) < 2:
        samples, references = samples * 2, references * 2
    found = _estimate(CHRF, chrf_counts(samples, references))
    assert found.value == pytest.approx(sacrebleu.corpus_chrf(samples, [references]).score, abs=1e-9)
    assert 0.0 <= found.low <= found.value <= found.high <= 100.0


@pytest.mark.parametrize("metric", [ROUGE_1, ROUGE_2, ROUGE_L])
def test_rouge_is_the_mean_of_the_packages_f_measures(metric: Metric) -> None:
    rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")
    samples, references = _pairs(5)
    kind = KINDS[metric.name]
    scorer = rouge_scorer.RougeScorer([kind], use_stemmer=True)
    rows = [scorer.score(target=r, prediction=s)[kind].fmeasure for s, r in zip(samples, references, strict=True)]
    found = _estimate(metric, rouge_rows(samples, references))
    assert found.value == pytest.approx(100.0 * np.mean(rows), abs=1e-9)
    assert found.low < found.value < found.high


def test_constants() -> None:
    """By hand: 'the cat sat' against 'the cat sat on it': unigrams 3/3, bigrams 2/2; precision 1, recall 3/5."""
    pytest.importorskip("rouge_score")
    rows = rouge_rows(["the cat sat", "dogs running"], ["the cat sat on it", "dog run"])
    assert rows["rouge_1"].tolist() == pytest.approx([75.0, 100.0])  # stemmed words are equal
    assert rows["rouge_2"].tolist() == pytest.approx([100 * 2 / 3, 100.0])
    assert rows["rouge_l"].tolist() == pytest.approx([75.0, 100.0])
    pytest.importorskip("sacrebleu")
    columns = bleu_counts(["a b c d e"], ["a b c d f"], lowercase=False)
    pooled = np.array([[columns[name][0] for name in COUNTS]])
    assert pooled.tolist() == [[4, 3, 2, 1, 5, 4, 3, 2, 5, 5]]
    expected = 100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    assert bleu_of_counts(pooled, effective_order=False)[0] == pytest.approx(expected)
    assert exact_rows(["a  b", "a B", ""], ["a b ", "a b", " "])["exact_match"].tolist() == [1, 0, 1]


def test_exact_match_is_a_share_inside_its_bounds() -> None:
    found = _estimate(EXACT_MATCH, exact_rows(["a", "b", "c", "d"], ["a", "b", "c", "x"]))
    assert found.value == 0.75
    assert 0.0 <= found.low < 0.75 < found.high <= 1.0


def test_the_same_text_and_another_text_are_the_ends_of_the_scale() -> None:
    pytest.importorskip("sacrebleu")
    same = ["a b c d e", "f g h i j k"]
    for metric, lowercase in ((BLEU, False), (BLEU_ELF, True)):
        assert _estimate(metric, bleu_counts(same, same, lowercase=lowercase)).value == pytest.approx(100.0)
    assert _estimate(CHRF, chrf_counts(same, same)).value == pytest.approx(100.0)
    assert _estimate(CHRF, chrf_counts(same, ["12345", "67890"])).value == 0.0


def test_pairs_come_apart_as_they_were_joined() -> None:
    samples, references = ['a "quoted"\n line', "", "é\ud800"], ["x", "", "z"]
    assert parted(joined(samples, references)) == (samples, references)
    with pytest.raises(ConfigError, match="without its reference"):
        joined(samples, references[:2])


def test_a_missing_package_is_told_with_the_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(package: str) -> str:
        raise pairs_module.PackageNotFoundError(package)

    monkeypatch.setattr(pairs_module, "version", absent)
    for measure in (lambda: bleu_counts(["a"], ["a"], lowercase=True), lambda: rouge_rows(["a"], ["a"])):
        with pytest.raises(PrerequisiteError, match=r"pip install 'elfbench\[evaluate\]'"):
            measure()


@pytest.mark.parametrize("metric", [BLEU, CHRF, EXACT_MATCH])
def test_draws_of_one_example_do_not_narrow_an_interval(metric: Metric) -> None:
    """Every row three times says no more than once: value and interval stay, by whatever method they are made."""
    if metric is BLEU:
        pytest.importorskip("sacrebleu")
    samples, references = _pairs(4, 40)
    samples = [two if row % 3 else one for row, (one, two) in enumerate(zip(samples, references, strict=True))]
    measures = {
        "bleu": lambda *pair: bleu_counts(*pair, lowercase=False),
        "chrf": chrf_counts,
        "exact_match": exact_rows,
    }
    columns = measures[metric.name](samples, references)
    once = _estimate(metric, columns)
    thrice = {name: np.repeat(values, 3) for name, values in columns.items()} | {EXAMPLE: np.repeat(np.arange(40), 3)}
    found = _estimate(metric, thrice)
    assert found.value == pytest.approx(once.value)
    assert "examples" in found.method
    if metric is EXACT_MATCH:  # two bootstraps
        assert found.high - found.low == pytest.approx(once.high - once.low, rel=0.1)
    else:
        assert (found.low, found.high) == pytest.approx((once.low, once.high))
    apart = _estimate(metric, {name: np.repeat(values, 3) for name, values in columns.items()})
    assert apart.high - apart.low < 0.7 * (found.high - found.low)

"""The oracle is exact: enumeration of a truncated grammar, a second parser, closed forms, and sampling agree."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import yaml

from elfbench.core.errors import ConfigError
from elfbench.language import oracle as oracle_module
from elfbench.language.grammar import Grammar, Symbol, build_grammar
from elfbench.language.ngram import bigram_law, expected_scores, unigram_law
from elfbench.language.oracle import LENGTH, SMOOTHING, OracleLanguage, oracle, training_windows
from elfbench.language.posterior import posterior
from elfbench.language.sentences import judge, sentence_hashes

DEFINITION = yaml.safe_load((Path(oracle_module.__file__).parent / "oracle.yaml").read_text(encoding="utf-8"))


def truncated(*, keep: int) -> Grammar:
    """The committed grammar with the first `keep` lemmas of each category and without phrases behind nouns: all rules of agreement stay."""
    content = yaml.safe_load(yaml.safe_dump(DEFINITION))
    for entry in content["lexicon"].values():
        sounds = entry.get("sounds")
        words = entry["words"]
        vowels = [word for word in words if word[0] in "aeiou"][: keep - 1 or 1]
        consonants = [word for word in words if word[0] not in "aeiou"][:keep]
        entry["words"] = [*consonants, *vowels] if sounds else words[:keep]
    for rule in ("OF_PERSON[n]", "OF_THING[n]"):
        content["rules"][rule] = ["1"]
    content["rules"]["AFTER"] = ["0.6", "0.4 adverb[any]"]
    return build_grammar(content)


@pytest.fixture(scope="module")
def small() -> OracleLanguage:
    return OracleLanguage(truncated(keep=1))


def derivations(grammar: Grammar, stack: tuple[Symbol, ...]) -> Iterator[tuple[tuple[str, ...], float]]:
    """Every derivation of `stack` with its probability, by plain recursion over the rules: shares nothing with the automaton."""
    if not stack:
        yield (), 1.0
        return
    head, rest = stack[0], stack[1:]
    if head.name == "'":
        options = [((head.arguments[0],), 1.0, ())]
    elif head in grammar.classes:
        options = [((word,), p, ()) for word, p in grammar.classes[head].items()]
    else:
        options = [((), one.probability, one.symbols) for one in grammar.rules[head]]
    for words, probability, symbols in options:
        for tail, chance in derivations(grammar, symbols + rest):
            yield words + tail, probability * chance


@pytest.fixture(scope="module")
def sentences(small: OracleLanguage) -> dict[tuple[str, ...], float]:
    found: dict[tuple[str, ...], float] = {}
    for words, probability in derivations(small.grammar, (small.grammar.start,)):
        found[words] = found.get(words, 0.0) + probability
    return found


def test_truncated_sentences_sum_to_one(sentences: dict[tuple[str, ...], float]) -> None:
    assert len(sentences) > 500
    assert sum(sentences.values()) == pytest.approx(1.0, abs=1e-12)


def test_every_sentence_has_the_probability_of_its_derivations(
    small: OracleLanguage, sentences: dict[tuple[str, ...], float]
) -> None:
    for words, probability in sentences.items():
        ids = small.encode(" ".join(words))[None]
        assert small.log_prob(ids)[0] == pytest.approx(np.log(probability), abs=1e-9), words
        assert small.automaton.n_states > small.walk(ids).states.max()


def test_windows_sum_to_one_and_equal_the_packed_sentences(
    small: OracleLanguage, sentences: dict[tuple[str, ...], float]
) -> None:
    """All windows of 6 words: packing enumerated sentences, cut, against the automaton."""
    length = 6
    packed: dict[tuple[str, ...], float] = {}
    waiting = [((), 1.0)]
    while waiting:
        prefix, weight = waiting.pop()
        for words, probability in sentences.items():
            text = (*prefix, *words)
            if len(text) >= length:
                packed[text[:length]] = packed.get(text[:length], 0.0) + weight * probability
            else:
                waiting.append((text, weight * probability))
    assert sum(packed.values()) == pytest.approx(1.0, abs=1e-9)
    ids = np.stack([small.encode(" ".join(words)) for words in packed])
    np.testing.assert_allclose(np.exp(small.log_prob(ids)), list(packed.values()), rtol=1e-8)
    entropy = -sum(p * np.log(p) for p in packed.values()) / length
    assert small.window_entropy(length) == pytest.approx(entropy, abs=1e-9)


def test_the_smoothed_law_sums_to_one_over_all_strings() -> None:
    """Every string of two words over the whole vocabulary, grammatical or not."""
    language = oracle()
    words = len(language.words)
    ids = np.array(list(product(range(words), repeat=2)))
    assert np.exp(-language.walk(ids).nll_nats.sum(axis=1)).sum() == pytest.approx(1.0, abs=1e-9)


def test_next_word_is_the_ratio_of_prefix_probabilities(small: OracleLanguage) -> None:
    rng = np.random.default_rng(0)
    prefixes = small.sample(rng.random((20, 4)))
    laws = small.next_word(prefixes)
    np.testing.assert_allclose(laws.sum(axis=1), 1.0)
    for word in range(len(small.words)):
        longer = np.concatenate([prefixes, np.full((20, 1), word)], axis=1)
        ratio = np.exp(small.log_prob(longer) - small.log_prob(prefixes))
        np.testing.assert_allclose(laws[:, word], ratio, atol=1e-12)


def test_exact_samples_follow_the_law(small: OracleLanguage) -> None:
    """Chi-square of 40,000 windows of 4 words against their exact probabilities."""
    from scipy.stats import chisquare

    ids = small.sample(np.random.default_rng(1).random((40_000, 4)))
    windows, counts = np.unique(ids, axis=0, return_counts=True)
    expected = np.exp(small.log_prob(windows)) * len(ids)
    often = expected >= 5
    observed = np.append(counts[often], len(ids) - counts[often].sum())
    wanted = np.append(expected[often], len(ids) - expected[often].sum())
    assert chisquare(observed, wanted).pvalue > 1e-3


def test_samples_score_the_entropy_and_are_grammatical() -> None:
    language = oracle()
    verdicts = judge(language, list(language.sample(np.random.default_rng(2).random((10_000, LENGTH)))))
    assert (verdicts.n_grammatical == verdicts.n_sentences).all()
    per_word = verdicts.nll_nats / LENGTH
    error = per_word.std() / np.sqrt(len(per_word))
    # Smoothing costs at most -ln(1 - e) per word.
    assert abs(per_word.mean() - SMOOTHING - language.window_entropy()) < 3 * error
    assert 2.0 < language.entropy_rate < language.window_entropy() < 3.0


def test_the_entropy_rate_is_the_limit_of_windows() -> None:
    language = oracle()
    long, longer = language.window_entropy(400), language.window_entropy(800)
    assert 2 * longer - long == pytest.approx(language.entropy_rate, abs=1e-6)


@pytest.mark.parametrize("order", [1, 2])
def test_ngram_controls_score_as_their_closed_forms(order: int) -> None:
    from elfbench.adapters.oracle_controls import ngram_draw

    language = oracle()
    law = unigram_law(language) if order == 1 else bigram_law(language)
    expected = expected_scores(language, law)
    ids = ngram_draw(law)(np.random.default_rng(order).random((4000, LENGTH)))
    verdicts = judge(language, list(ids))
    nll = verdicts.nll_nats / LENGTH
    assert abs(nll.mean() - expected.oracle_nll) < 3.5 * nll.std() / np.sqrt(len(nll))
    share = verdicts.n_grammatical.sum() / verdicts.n_sentences.sum()
    assert abs(share - expected.grammatical) < 3.5 * np.sqrt(share * (1 - share) / verdicts.n_sentences.sum()) + 1e-4
    counts = np.bincount(ids.ravel(), minlength=len(language.words)) / ids.size
    entropy = -(counts[counts > 0] * np.log(counts[counts > 0])).sum()
    assert entropy == pytest.approx(expected.unigram_entropy, abs=0.01)


def test_bigram_law_is_that_of_pairs_in_samples(small: OracleLanguage) -> None:
    length = 9
    ids = small.sample(np.random.default_rng(3).random((30_000, length)))
    pairs = np.zeros((len(small.words),) * 2)
    np.add.at(pairs, (ids[:, :-1].ravel(), ids[:, 1:].ravel()), 1.0)
    seen = pairs.sum(axis=1) > 500
    law = bigram_law(small, length).then
    np.testing.assert_allclose(pairs[seen] / pairs[seen].sum(axis=1, keepdims=True), law[seen], atol=0.05)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("the doctor sleeps .", None),
        ("the doctors sleep .", None),
        ("the doctors who see an apple sleep .", None),
        ("the doctor who the kings see sleeps .", None),
        ("this doctor sleep .", "subject-verb"),
        ("the doctors who see an apple sleeps .", "subject-verb"),
        ("these doctor sleep .", "determiner-noun"),
        ("the king sees two apple .", "determiner-noun"),
        ("a apple falls .", "article"),
        ("an big apple falls .", "article"),
        ("john says that he sleeps .", None),
        ("john says that she sleeps .", "pronoun"),
        ("when anna sleeps , anna sees john .", None),
        ("when anna sleeps , mary sees john .", "name"),
        ("[ the doctor sleeps ] .", None),
        ("[ the doctor sleeps ) .", "bracket"),
        ("[ the doctor sleeps .", "word-order"),
        ("doctor the sleeps .", "word-order"),
        ("sleeps .", "word-order"),
        (".", "word-order"),
    ],
)
def test_the_broken_rule_is_named(text: str, rule: str | None) -> None:
    language = oracle()
    verdicts = judge(language, [language.encode(text)])
    assert verdicts.n_sentences[0] == 1
    named = {name: int(count) for name, count in zip(language.rules, verdicts.broken[0], strict=True) if count}
    assert named == ({} if rule is None else {rule: 1})
    assert verdicts.n_grammatical[0] == (rule is None)


def test_one_wrong_sentence_does_not_condemn_its_neighbours() -> None:
    language = oracle()
    verdicts = judge(language, [language.encode("the dog sleep . the dog sleeps . the dogs")])
    assert (verdicts.n_sentences[0], verdicts.n_grammatical[0]) == (2, 1)


def test_a_window_without_full_stop_is_one_ungrammatical_sentence() -> None:
    language = oracle()
    verdicts = judge(language, [language.encode("the " * LENGTH)])
    assert (verdicts.n_sentences[0], verdicts.n_grammatical[0]) == (1, 0)
    # No sentence of the language is as long as a window.
    never_stopped = np.zeros(language.automaton.n_states)
    never_stopped[0] = 1.0
    moving = language.transition.copy()
    moving[:, 0] = 0.0
    assert (never_stopped @ np.linalg.matrix_power(moving, LENGTH)).sum() == 0.0


def test_rows_of_several_lengths_are_judged_as_they_are_alone() -> None:
    language = oracle()
    rows = [language.encode(text) for text in ("the dog sleeps .", "anna sees john . the", "", "the dog sleep .")]
    together = judge(language, rows)
    for number, row in enumerate(rows):
        alone = judge(language, [row])
        assert together.nll_nats[number] == alone.nll_nats[0]
        assert together.n_grammatical[number] == alone.n_grammatical[0]


def test_novelty_knows_the_training_set_and_nothing_else() -> None:
    language = oracle()
    known = training_windows()[:200]
    assert judge(language, list(known)).n_novel.sum() == 0
    stops = known == language.stop_id
    hashes = sentence_hashes(known, stops)[stops]
    texts = [
        sentence
        for row in known
        for sentence in language.decode(row).replace(" .", " .\n").split("\n")[:-1]
        if sentence
    ]
    assert len(set(hashes.tolist())) == len({sentence.strip() for sentence in texts})


def test_unknown_words_shapes_and_ids_are_named() -> None:
    language = oracle()
    with pytest.raises(ConfigError, match=r"(?s)sleps.*sleeps"):
        language.encode("the dog sleps .")
    with pytest.raises(ConfigError, match="all of one length"):
        language.log_prob([[1, 2], [1]])  # type: ignore[arg-type, list-item]
    with pytest.raises(ConfigError, match=r"\[N, L\]"):
        language.log_prob(np.zeros(3, dtype=int))
    with pytest.raises(ConfigError, match="no word"):
        language.log_prob(np.full((1, 3), len(language.words)))


def test_a_bad_grammar_is_refused() -> None:
    content = yaml.safe_load(yaml.safe_dump(DEFINITION))
    content["rules"]["PP"] = ["0.9 preposition[any] PLACE[m]"]
    with pytest.raises(ConfigError, match=r"(?s)do not sum to 1.*rules\.PP"):
        build_grammar(content)
    content["rules"]["PP"] = ["1 preposition[any] PLACES[m]"]
    with pytest.raises(ConfigError, match="PLACES"):
        build_grammar(content)
    content["rules"]["PP"] = ["1 preposition[any] PERSON[m] OF_PERSON[m] adverb[any]"]
    with pytest.raises(ConfigError, match="unbounded depth"):
        OracleLanguage(build_grammar(content)).automaton  # noqa: B018


def test_the_exact_denoiser_is_bayes_by_enumeration(small: OracleLanguage) -> None:
    """Posterior of every word given random evidence, against the sum over all windows of 5 words that the truncated language has."""
    length, words = 5, len(small.words)
    windows = np.zeros((1, 0), dtype=np.int64)
    for _ in range(length):
        longer = np.concatenate(
            [np.repeat(windows, words, axis=0), np.tile(np.arange(words), len(windows))[:, None]], 1
        )
        windows = longer[np.isfinite(small.log_prob(longer))]
    prior = np.exp(small.log_prob(windows))
    evidence = np.random.default_rng(0).normal(size=(3, length, words)) * 2.0
    evidence[0, 2, : words // 2] = -np.inf
    for row, denoised in zip(evidence, posterior(small, evidence), strict=True):
        weights = prior * np.exp(row[np.arange(length), windows].sum(axis=1))
        for position in range(length):
            law = np.bincount(windows[:, position], weights=weights, minlength=words) / weights.sum()
            np.testing.assert_allclose(denoised[position], law, atol=1e-10)


def test_without_evidence_the_denoiser_is_the_law_of_the_position() -> None:
    language = oracle()
    laws = posterior(language, np.zeros((1, 4, len(language.words))))[0]
    np.testing.assert_allclose(laws, language.state_shares(4) @ language.automaton.probs, atol=1e-12)


def test_impossible_evidence_is_refused() -> None:
    language = oracle()
    evidence = np.zeros((1, 2, len(language.words)))
    evidence[0, 0, np.arange(len(language.words)) != language.stop_id] = -np.inf
    with pytest.raises(FloatingPointError, match="excludes every window"):
        posterior(language, evidence)

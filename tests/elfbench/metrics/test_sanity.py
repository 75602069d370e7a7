"""Sanity shares on texts made by hand; script names against the blocks of the Unicode chart; the interval against its closed form."""

from __future__ import annotations

import numpy as np
import pytest

import elfbench
from elfbench.core.errors import ConfigError
from elfbench.metrics.sanity import NONFINITE_SHARE, leftover_rows, scripts
from elfbench.running.instruments import Instruments
from elfbench.running.measuring import view
from elfbench.spec.measure import Measure
from elfbench.spec.metric import EstimateContext, usable_rows

TEXTS = [
    "",
    " \n\t",
    "two words",
    "just four words here",
    "one two three four five six",
    "bad \ufffd\ufffd bytes in text",
]


def _frame(texts: list[str], metrics: list[str], **more: object):  # type: ignore[no-untyped-def]
    measure = Measure(tokenizer="words", window=4, short="drop")
    return elfbench.score(texts, metrics, measure=measure, **more).set_index("metric")


def test_every_kind_has_its_own_number_and_no_row_is_left_out() -> None:
    frame = _frame(TEXTS, ["sanity", "unigram_entropy"])
    shares = {name: frame.loc[f"{name}_share"] for name in ("empty", "short", "truncated", "replacement", "leftover")}
    assert {name: row["value"] * 6 for name, row in shares.items()} == pytest.approx(
        {"empty": 2, "short": 1, "truncated": 2, "replacement": 1, "leftover": 0}
    )
    assert {(row["n"], row["n_dropped"]) for row in shares.values()} == {(6, 0)}
    assert shares["replacement"]["detail"] == {"rows": 1, "characters": 2}
    # Others drop empty and short rows together.
    assert frame.loc["unigram_entropy", "n_dropped"] == 2 + 1
    assert shares["truncated"]["detail"]["share_of_tokens_unread"] == pytest.approx((2 + 2) / (2 + 4 + 6 + 6))


def test_none_of_n_rows_has_an_upper_end() -> None:
    row = _frame(["plain text"] * 40, ["replacement_share"]).loc["replacement_share"]
    assert (row["value"], row["low"]) == (0.0, 0.0)
    assert row["high"] == pytest.approx(1 - 0.025 ** (1 / 40), rel=1e-12)


def test_without_a_window_no_row_is_short_or_truncated() -> None:
    frame = elfbench.score(TEXTS, ["short_share", "truncated_share"]).set_index("metric")
    assert frame["value"].tolist() == [0.0, 0.0]
    assert [detail["window"] for detail in frame["detail"]] == ["none", "none"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a <|endoftext|> b", 1), ("[MASK][MASK] x", 2), ("x [mask]", 1), ("<pad><pad></s>", 3), ("<extra_id_0> hi", 1), ("oh \u2047 no", 1),
        ("a < b and c > d", 0), ("<b>bold</b>", 0), ("the mask [sic] unk", 0), ("<script>alert(1)</script>", 0), ("f(x) = |x| <> |y|", 0),
    ],
)  # fmt: skip
def test_leftovers_are_spelled_out_special_tokens(text: str, found: int) -> None:
    assert leftover_rows([text])["n_leftovers"].tolist() == [found]


def test_leftovers_are_looked_for_in_the_final_text_whatever_the_measure_reads() -> None:
    instruments = Instruments(Measure(view="raw", tokenizer="words"), None, None)
    assert (view("leftovers", instruments), view("sanity", instruments)) == ("final", "raw")


@pytest.mark.parametrize(
    ("first", "last", "name"),
    [
        (0x61, 0x7A, "LATIN"), (0xC0, 0xD6, "LATIN"), (0x3B1, 0x3C9, "GREEK"), (0x430, 0x44F, "CYRILLIC"), (0x5D0, 0x5EA, "HEBREW"),
        (0x905, 0x939, "DEVANAGARI"), (0x3041, 0x3096, "HIRAGANA"), (0x30A1, 0x30FA, "KATAKANA"), (0x4E00, 0x9FA5, "CJK"),
        (0xAC00, 0xD7A3, "HANGUL"), (0xFF21, 0xFF3A, "LATIN"), (0x1D400, 0x1D433, "LATIN"),
    ],
)  # fmt: skip
def test_letters_have_the_script_of_their_block(first: int, last: int, name: str) -> None:
    assert scripts("".join(map(chr, range(first, last + 1)))) == {name: last - first + 1}


def test_signs_digits_and_marks_have_no_script() -> None:
    assert scripts("1234 .,;!? \u2014 \u20ac \U0001f600 \u0301 \ufffd") == {}
    assert scripts("\u00b5 \u00aa") == {"GREEK": 1, "LATIN": 1}  # micro sign, feminine ordinal


def test_foreign_scripts_are_those_that_the_reference_hardly_uses() -> None:
    reference = ["plain english words " * 100, "one \u03b1 in a formula"]
    texts = ["all is well", "\u043d\u0435 english", "caf\u00e9 d\u00e9j\u00e0 vu", "\u4e16\u754c"]
    row = _frame(texts, ["foreign_script_share"], reference=reference).loc["foreign_script_share"]
    assert row["value"] == 0.5
    assert row["detail"]["reference_scripts"] == "LATIN"
    assert row["detail"]["found"] == "CJK=2 CYRILLIC=2"
    assert row["detail"]["share_of_letters"] == pytest.approx(4 / (9 + 9 + 10 + 2))
    with pytest.raises(ConfigError, match="reference"):
        _frame(texts, ["foreign_script_share"])


def test_scores_that_are_not_finite_are_counted_even_where_nothing_was_scored() -> None:
    columns = {
        "nll_nats": np.array([1.0, np.nan, np.inf, 0.0]),
        "n_scored": np.array([3, 3, 3, 0]),
        "n_tokens": np.array([4, 4, 4, 0]),
    }
    rows = usable_rows(NONFINITE_SHARE, columns, 4, Measure(window=4))
    estimate = NONFINITE_SHARE.estimate(rows, None, EstimateContext())
    assert (rows.n, rows.n_dropped, estimate.value, estimate.detail["rows"]) == (4, 0, 0.5, 2)


def test_the_order_of_rows_is_nothing() -> None:
    names = ["sanity", "foreign_script_share"]
    one, other = _frame(TEXTS, names, reference=TEXTS), _frame(TEXTS[::-1], names, reference=TEXTS)
    assert one[["value", "low", "high"]].equals(other[["value", "low", "high"]])

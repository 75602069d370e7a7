"""What a user gets who gives wrong input: exit code 2, the key, what was found, what is allowed, what to type, and nothing written."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from elfbench.cli.main import main
from elfbench.registry import catalog
from elfbench.spec.instruments import JudgedRows

WORDS = ("the", "of", "and", "to", "in", "a", "that", "is", "was", "he", "for", "it", "with", "as", "his", "on", "be")


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def elfbench(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Done:
        with pytest.raises(SystemExit) as stop:
            main(list(arguments))
        shown = capsys.readouterr()
        return Done(int(stop.value.code or 0), shown.out, shown.err)

    return run


def _texts(seed: int, n: int, low: int, high: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, size=rng.integers(low, high + 1))) for _ in range(n)]


def _file(path: Path, texts: list[str]) -> str:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path.name


def _refused(done: Done, *parts: str) -> None:
    assert done.code == 2, done.err
    for part in parts:
        assert part in done.err, done.err
    assert done.out == ""
    assert not Path("S").exists()


def test_samples_and_references_of_different_length(elfbench, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    samples, reference = (
        _file(tmp_path / "s.jsonl", _texts(0, 40, 38, 42)),
        _file(tmp_path / "r.jsonl", _texts(1, 40, 64, 64)),
    )
    command = ("score", samples, "--reference", reference, "--metric", "energy_distance")
    _refused(
        elfbench(*command, "--out", "S"),
        "key:     measure.window",
        "samples of median 40 tokens",
        "against median 64 tokens, without a window",
        "at most 10% apart",
        "--window 38 --short drop",
    )
    done = elfbench(*command, "--window", "38", "--json")
    assert done.code == 0, done.err
    (result,) = json.loads(done.out)["results"]
    assert (result["n"], result["n_dropped"]) == (40, 0)
    _refused(elfbench(*command, "--window", "60", "--short", "keep", "--out", "S"), "with window 60", "--window 38")
    # Beside a metric that does not compare, it is a declared gap.
    both = elfbench(*command, "--metric", "distinct_1", "--json")
    document = json.loads(both.out)
    assert (both.code, [one["metric"] for one in document["results"]]) == (0, ["distinct_1"])
    assert "--window 38" in document["not_computed"]["energy_distance"]


def test_fewer_rows_than_a_metric_takes(elfbench, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    texts = _file(tmp_path / "s.jsonl", _texts(0, 12, 20, 20))
    _refused(
        elfbench("score", texts, "--reference", texts, "--metric", "energy_distance", "--out", "S"),
        "energy_distance: too few usable rows of samples",
        "found:   12 of 12",
        "allowed: >= 16",
        "at least 16 texts",
    )
    _refused(
        elfbench("score", texts, "--metric", "distinct", "--window", "50", "--out", "S"),
        "distinct_1, distinct_2, distinct_3, distinct_4: too few usable rows",
        "0 of 12 (12 shorter than the window of 50)",
        "--window 20 --short drop",
    )


def test_empty_texts(elfbench, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "none.jsonl").write_text("")
    _refused(elfbench("score", "none.jsonl", "--out", "S"), "a samples file without rows", "none.jsonl")
    all_empty = _file(tmp_path / "empty.jsonl", ["", " ", "\n\t"])
    _refused(elfbench("score", all_empty, "--out", "S"), "0 of 3 (3 empty)", "at least 2 texts that are not empty")
    some = _file(tmp_path / "some.jsonl", ["", *_texts(0, 5, 9, 9), "\t"])
    done = elfbench("score", some, "--metric", "distinct_1", "--out", "S")
    assert done.code == 0
    assert " 5 " in done.out  # rows used
    assert " 2 " in done.out  # left out
    assert elfbench("report", "S", "--out", "R").code == 0
    for name in ("table.md", "table.tex", "index.html"):
        told = (tmp_path / "R" / name).read_text()
        assert "2 empty (some 2)" in told
        assert "up to 2 of 7 rows, of some (distinct" in told
    with (tmp_path / "R" / "results.csv").open() as stream:
        assert [row["n_dropped"] for row in csv.DictReader(stream)] == ["2"]


def test_rows_of_unlike_keys_and_fewer_references_than_samples(elfbench, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "keys.jsonl").write_text('{"text": "a b"}\n{"body": "c d"}\n')
    _refused(
        elfbench("score", "keys.jsonl", "--out", "S"), "keys.jsonl, row 2", "['body']", "text, generated", "--field"
    )
    samples, few = _file(tmp_path / "s.jsonl", _texts(0, 5, 9, 9)), _file(tmp_path / "r.jsonl", _texts(1, 4, 9, 9))
    _refused(
        elfbench("score", samples, "--reference", few, "--metric", "bleu", "--out", "S"),
        "another number of references than of samples",
        "found:   4",
        "allowed: 5",
    )


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("a.parquet", b"none", ("not a parquet file", "a.parquet")),
        ("a.jsonl", b"\xff\xfe", ("not UTF-8", "a.jsonl")),
        ("a.jsonl", b'{"text": null}', ("a row whose text is none", "found:   text: null", "a text in quotes")),
        ("a.jsonl", b'{"body": "a b"}', ("a row without a text field", "--field body")),
        ("a.json", b"[3]", ("neither a text nor an object", "found:   3", "a text in quotes, or an object")),
        ("a.jsonl", b"hello", ("not valid JSON", "a.jsonl, line 1", "allowed: JSON")),
        ("a.doc", b"hello", ("an unknown kind of samples file", "a.doc", ".jsonl")),
    ],
)
def test_files_that_hold_no_texts(elfbench, tmp_path: Path, name: str, content: bytes, parts: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / name).write_bytes(content)
    _refused(elfbench("score", name, "--out", "S"), *parts)


class StubJudge:
    """Scores a nat a token; NaN where a text has the word 'overflow'. Its context is 16 tokens."""

    name = title = "stub"
    digest = "d" * 64
    context = 16

    def tokenizer(self) -> object:
        from elfbench.judges.measuring import WordTokenizer

        return WordTokenizer()

    def score(self, texts, *, window, progress=None):  # type: ignore[no-untyped-def]
        counts = np.array([min(len(text.split()), window or 10**9) for text in texts])
        nll = np.where(["overflow" in text for text in texts], np.nan, counts.astype(float))
        return JudgedRows(nll_nats=nll, n_scored=counts, n_bytes_scored=4 * counts, n_tokens=counts)


@pytest.fixture
def stub() -> Iterator[None]:
    catalog.judges.cache_clear()
    catalog.judges().add("stub", StubJudge(), owner="test")
    yield
    catalog.judges.cache_clear()


@pytest.mark.usefixtures("stub")
def test_nan_from_a_judge_is_counted_and_never_averaged_away(elfbench, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    samples = _file(tmp_path / "s.jsonl", [*_texts(0, 7, 9, 9), "an overflow here", *_texts(1, 2, 9, 9)])
    command = ("score", samples, "--judge", "stub", "--tokenizer", "words")
    for metric in ("gen_ppl", "bits_per_byte"):
        _refused(
            elfbench(*command, "--metric", metric, "--out", "S"),
            f"{metric}: the judge gave NaN or infinity",
            "found:   1 of 10 rows, the first is row 7",
            "--metric nonfinite_share",
        )
    done = elfbench(*command, "--metric", "gen_ppl", "--metric", "nonfinite_share", "--out", "S", "--json")
    document = json.loads(done.out)
    (result,) = document["results"]
    assert (result["metric"], result["value"], result["detail"]["rows"]) == ("nonfinite_share", 0.1, 1)
    assert "1 of 10 rows" in document["not_computed"]["gen_ppl"]


def test_a_judge_whose_context_is_shorter_than_the_text(elfbench, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("transformers", reason="judges need transformers")
    judge = str(Path(__file__).resolve().parents[2] / "golden" / "metrics" / "judge")
    samples = _file(tmp_path / "s.jsonl", _texts(0, 4, 200, 200))
    command = ("score", samples, "--metric", "gen_ppl", "--judge", judge)
    _refused(
        elfbench(*command, "--out", "S"),
        "a text is longer than the context of judge hf:judge",
        "key:     measure.window",
        "allowed: at most 96",
        "95 tokens",
    )
    _refused(elfbench(*command, "--window", "96", "--out", "S"), "window 96", "at most 96")
    assert elfbench(*command, "--window", "95").code == 0
    # A protocol that truncates by definition takes them.
    assert elfbench(*command, "--protocol", "elf").code == 0


def test_protocols_are_mixed_only_when_asked_to_and_then_marked(elfbench, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    one, other = (_file(tmp_path / f"{name}.jsonl", _texts(seed, 20, 20, 20)) for seed, name in enumerate("ab"))
    references = [_file(tmp_path / f"r{seed}.jsonl", _texts(seed, 20, 20, 20)) for seed in (7, 8)]
    for samples, reference in zip((one, other), references, strict=True):
        done = elfbench("score", samples, "--reference", reference, "--metric", "energy_distance", "--out", "S")
        assert done.code == 0, done.err
    refused = elfbench("report", "S", "--out", "R")
    assert refused.code == 2
    for part in ("energy_distance under 2 protocols", "r7.jsonl", "one protocol a column", "--mixed"):
        assert part in refused.err
    assert not (tmp_path / "R").exists()
    assert elfbench("report", "S", "--out", "R", "--mixed").code == 0
    header = (tmp_path / "R" / "table.md").read_text().splitlines()[0]
    assert header.count("energy distance \\[") == 2


SUITE = """
suite: mine
version: 1
title: A test
length: 8
rows: 4
measure: {tokenizer: words}
models: [{name: unigram}]
metrics: [{name: distinct_1}]
"""


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("distinct_1", "distict", ("unknown metric 'distict'", "did you mean 'distinct'")),
        ("distinct_1", "memorisation", ("did you mean 'memorization'",)),
        ("name: unigram", "name: unigrm", ("did you mean 'unigram'",)),
        ("rows: 4", "rows: 4\njudge: smolm2", ("unknown judge", "did you mean 'smollm2-135m-instruct-q4'")),
        ("rows: 4", "rows: 4\nfeaturizer: minilmm", ("unknown featurizer", "did you mean 'minilm'")),
        ("rows: 4", "rows: four", ("key:     rows", 'found:   "four"', "allowed: a valid integer")),
    ],
)
def test_a_plan_sees_the_mistakes_of_a_run(
    elfbench, tmp_path: Path, old: str, new: str, parts: tuple[str, ...]
) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "mine.yaml").write_text(SUITE.replace(old, new))
    _refused(elfbench("plan", "mine.yaml"), *parts)
    _refused(elfbench("run", "mine.yaml", "--out", "S"), *parts)


def test_a_plan_counts_held_out_text_and_takes_rows(elfbench) -> None:  # type: ignore[no-untyped-def]
    document = json.loads(elfbench("plan", "oracle-likelihood", "--rows", "32", "--json").out)
    assert {cell["rows"] for cell in document["cells"]} == {32}
    likelihoods = document["likelihoods"]
    assert [cell["model"] for cell in likelihoods] == [cell["model"] for cell in document["cells"]]
    assert {(cell["texts"], cell["rows"], cell["missing"]) for cell in likelihoods} == {("oracle:test", 32, 32)}
    assert not {cell["cell"] for cell in likelihoods} & {cell["cell"] for cell in document["cells"]}
    assert "likelihoods" not in json.loads(elfbench("plan", "controls", "--json").out)
    shown = elfbench("plan", "oracle-likelihood").out
    assert f"and {len(likelihoods)} of likelihood" in shown


@pytest.mark.parametrize(
    ("option", "parts"),
    [
        ("gamma=100", ("key:     options.gamma", "found:   100.0", "allowed: 0 to 64", "gamma: noise added back")),
        ("gamma=x", ("found:   'x'", "allowed: float", "gamma: noise added back", "default 0.0")),
        ("method=foo", ("unknown value of options.method 'foo'", "sde_paper", "method: Euler ODE")),
        ("gama=1", ("unknown option of elf-oracle 'gama'", "did you mean 'gamma'")),
    ],
)
def test_an_option_error_says_what_the_option_means(elfbench, option: str, parts: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    _refused(elfbench("sample", "elf-oracle", "--option", option), *parts)

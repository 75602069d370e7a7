"""A metric under a second judge, end to end: the same text for both, the judge's own real text beside it, report and comparison."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import elfbench
from elfbench.core.errors import ConfigError
from elfbench.judges.causal import open_judge
from elfbench.registry import catalog
from elfbench.reporting.report import write_report
from elfbench.reporting.section import load_sections
from elfbench.running.instruments import Instruments, canonical_name
from elfbench.running.measuring import measurement_protocol
from elfbench.running.run import RunSummary, run
from elfbench.running.suites import load_suite
from elfbench.spec.measure import Measure
from elfbench.spec.suite import Suite
from elfbench.store.store import Store

JUDGE = Path(__file__).resolve().parents[2] / "golden" / "metrics" / "judge"
SECOND = "gen_ppl@entry:ar-sotu"
TEXTS = [
    "The Congress met in December and the report of the Secretary was read.",
    "Our relations with all nations are of peace, and no claim is open.",
    "caf\u00e9 \U0001f600 of the people, by the people",
    "a year of war and of no peace at all, as the treasury can tell",
]
REAL = [
    "Fellow citizens of the Senate and of the House",
    "I lay before you the estimates of the year",
    "Peace was made",
]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    pytest.importorskip("transformers", reason="judges need transformers")
    pytest.importorskip("torch").set_num_threads(1)


def _scored(metrics: list[str], **arguments: Any) -> dict[str, dict[str, Any]]:
    frame = elfbench.score(TEXTS, metrics, **{"judge": str(JUDGE)} | arguments)
    return {row["metric"]: row for row in frame.to_dict("records")}


def test_both_judge_the_text_that_the_suites_judge_cuts() -> None:
    measure = Measure(tokenizer="judge", window=7, short="keep")
    found = _scored(["gen_ppl", SECOND, f"bits_per_byte@hf:{JUDGE}", "bits_per_byte"], measure=measure)
    first, second = open_judge(str(JUDGE)), catalog.judges().get("entry:ar-sotu")
    cut = first.tokenizer().truncate(TEXTS, 7)
    rows = second.score(cut, window=None)
    expected = math.exp(math.fsum(rows.nll_nats) / rows.n_scored.sum())
    assert found[SECOND]["value"] == pytest.approx(expected, rel=1e-9)
    assert found[SECOND]["detail"]["tokens_scored"] == rows.n_scored.sum()
    assert found["gen_ppl"]["value"] == pytest.approx(
        math.exp(np.divide(*(part.sum() for part in first.score(TEXTS, window=7)[:2])))
    )
    again = first.score(cut, window=None)
    assert found["bits_per_byte@hf:judge"]["value"] == pytest.approx(
        again.nll_nats.sum() / math.log(2) / sum(len(text.encode()) for text in cut)
    )


def test_without_a_window_the_judge_measures_as_in_a_suite_of_its_own() -> None:
    own = Instruments(Measure(tokenizer="words"), f"hf:{JUDGE}", None)
    _, second = Instruments(Measure(tokenizer="words"), "entry:ar-sotu", None).of_metric(
        catalog.metrics().get(f"gen_ppl@hf:{JUDGE}")
    )
    assert measurement_protocol("judge_nll", second) == measurement_protocol("judge_nll", own)
    metric, cut = Instruments(Measure(tokenizer="words", window=5), None, None).of_metric(
        catalog.metrics().get(f"gen_ppl@hf:{JUDGE}")
    )
    assert metric.name == "gen_ppl@hf:judge"
    assert measurement_protocol("judge_nll", cut)["cut_by"]["name"] == "words"
    assert cut.judge.score([TEXTS[0]], window=5).n_tokens.tolist() == [14]
    assert cut.judge.score([TEXTS[0]], window=5).n_bytes_scored.tolist() == [len("The Congress met in December")]


def test_an_existing_fingerprint_does_not_move() -> None:
    """As the version before there was a second judge, and a companion of real text, made it."""
    alone = _scored(["gen_ppl"], measure=Measure(tokenizer="judge"))["gen_ppl"]
    assert alone["fingerprint"][:16] == "b8b1198b393d5005"
    beside = _scored(["gen_ppl", SECOND], measure=Measure(tokenizer="judge"), reference=REAL)["gen_ppl"]
    assert beside["fingerprint"] == alone["fingerprint"]
    assert beside["value"] == alone["value"]


def test_other_protocols_and_featurizers(tmp_path: Path) -> None:
    folder = shutil.copytree(JUDGE, tmp_path / "other")
    found = _scored([f"gen_ppl@{folder}"], protocol="elf")["gen_ppl@hf:other"]
    assert found["protocol"] == "elf"
    assert found["value"] == pytest.approx(_scored(["gen_ppl"], protocol="elf")["gen_ppl"]["value"])
    rng, words = np.random.default_rng(0), " ".join(TEXTS).split()
    many = [" ".join(rng.choice(words, 9)) for _ in range(128)]
    frames = [
        elfbench.score(
            many[:64], [name], reference=many[64:], featurizer=featurizer, measure=Measure(tokenizer="words", window=8)
        )
        for name, featurizer in ((f"prdc@hf:{JUDGE}", None), ("prdc", f"hf:{JUDGE}"))
    ]
    assert [f"{name}@hf:judge" for name in frames[1]["metric"]] == frames[0]["metric"].tolist()
    assert frames[0]["value"].tolist() == frames[1]["value"].tolist()


def test_two_folders_of_one_name_are_refused(tmp_path: Path) -> None:
    one, other = (shutil.copytree(JUDGE, tmp_path / place / "judge") for place in ("a", "b"))
    (other / "config.json").write_text((other / "config.json").read_text() + "\n")
    with pytest.raises(ConfigError, match="two instruments have one name"):
        _scored([f"gen_ppl@{one}", f"gen_ppl@{other}"])
    with pytest.raises(ConfigError, match="unigram_entropy reads no judge or featurizer"):
        _scored(["unigram_entropy@gpt2"])


def test_the_reference_text_is_judged_like_samples_are() -> None:
    measure = Measure(tokenizer="judge", window=9, short="keep")
    found = _scored(["gen_ppl", SECOND, "unigram_entropy"], reference=REAL, measure=measure)
    alone = elfbench.score(REAL, ["gen_ppl", SECOND], judge=str(JUDGE), measure=measure).to_dict("records")
    for one in alone:
        detail = found[one["metric"]]["detail"]
        assert [detail[f"held_out{end}"] for end in ("", "_low", "_high", "_n")] == [
            one["value"], one["low"], one["high"], len(REAL)
        ]  # fmt: skip
    assert not any(name.startswith("held_out") for name in found["unigram_entropy"]["detail"])
    assert not any(name.startswith("held_out") for name in _scored(["gen_ppl"], measure=measure)["gen_ppl"]["detail"])


def test_real_text_that_cannot_be_judged_stops_nothing() -> None:
    long = [" ".join(REAL * 40)] * 3
    from elfbench.running.score import score_texts

    results, missing = score_texts(
        TEXTS, ["gen_ppl"], reference=long, judge=str(JUDGE), featurizer=None, measure=None, label="mine", out=None, reporter=None
    )  # fmt: skip
    assert [one["metric"] for one in results] == ["gen_ppl"]
    assert [gap.metric for gap in missing] == ["gen_ppl of the reference text"]
    assert "longer than the context" in missing[0].why


# a suite -------------------------------------------------------------------------------------------------------------


def _suite(folder: Path, second: str, reference: bool = True) -> Suite:
    document = {
        "suite": "two-judges", "version": 1, "title": "Two judges", "length": 16, "rows": 6, "seed": 0,
        "judge": f"hf:{JUDGE}", "measure": {"tokenizer": "judge", "window": 10, "short": "keep"},
        "models": [{"name": name} for name in ("real-text", "shuffled", "tiled", "ar-sotu")],
        "metrics": [{"name": "gen_ppl"}, {"name": f"gen_ppl@{second}"}, {"name": "distinct_1"}],
        "panel": {"bands": {"gen_ppl": {"high": 1e9}, f"gen_ppl@{second}": {"high": 60.0}}},
    }  # fmt: skip
    if reference:
        document["reference"] = {"corpus": "sotu", "split": "reference", "tokenizer": "sotu-bpe2k", "rows": 5}
    import json

    path = folder / "two-judges.yaml"
    path.write_text(json.dumps(document))
    return load_suite(str(path))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunSummary]:
    folder: Path = tmp_path_factory.mktemp("second-judge")
    return folder / "S", run(_suite(folder, "entry:ar-sotu"), folder / "S")


def test_a_second_run_finds_everything(store: tuple[Path, RunSummary], tmp_path: Path) -> None:
    place, summary = store
    assert not summary.not_scored
    assert summary.scores_made == 4 * 3 + 2
    assert run(_suite(tmp_path, "entry:ar-sotu"), place).nothing_to_do


def test_the_report_shows_agreement_and_real_text(store: tuple[Path, RunSummary], tmp_path: Path) -> None:
    written = write_report(store[0], tmp_path / "R")
    (section,) = load_sections(Store.open(store[0]), None)
    names = [metric["metric"] for metric in section.metrics]
    assert names == ["gen_ppl", SECOND, "distinct_1"]
    page, table = written.page.read_text(), (tmp_path / "R" / "table.md").read_text()
    assert "Do the judges agree?" in page
    assert "Judge judge: real text sotu:reference gen\\-PPL" in table
    assert "Judge ar\\-sotu \\(in\\-domain judge\\): real text sotu:reference gen\\-PPL" in table
    assert ", n=5" in table
    assert "gen-PPL (entry:ar-sotu)" in page
    assert "Spearman" in (tmp_path / "R" / "judges.md").read_text()
    lines = (tmp_path / "R" / "judges.csv").read_text().splitlines()
    found = [line.split(",") for line in lines[1:]]
    assert [line[6] for line in found] == ["rho", "tau"]
    for *_, value, low, high in (line[:10] for line in found):
        assert -1.0 <= float(low) <= float(high) <= 1.0
        assert -1.0 <= float(value) <= 1.0
    assert "at most 60" in (tmp_path / "R" / "panel.md").read_text()


def test_two_rows_compare_under_the_second_judge(store: tuple[Path, RunSummary]) -> None:
    from elfbench.reporting.comparison import compare

    found = {one.metric: one for one in compare("AR", "words shuffled", store=store[0]).compared}
    assert found[SECOND].direction == "lower"
    (section,) = load_sections(Store.open(store[0]), None)
    scores = {cell.label: cell.value(SECOND) for cell in section.cells}
    assert found[SECOND].a == pytest.approx(scores["AR"].value)
    assert found[SECOND].b == pytest.approx(scores["words shuffled"].value)


def test_a_record_holds_no_path(tmp_path: Path) -> None:
    folder = shutil.copytree(JUDGE, tmp_path / "other")
    suite = _suite(tmp_path, f"hf:{folder}", reference=False)
    run(suite, tmp_path / "S", rows=3)
    (record,) = Store.open(tmp_path / "S").suites()
    assert str(tmp_path) not in str({key: record["suite"][key] for key in ("metrics", "panel")})
    assert [metric["name"] for metric in record["suite"]["metrics"]] == ["gen_ppl", "gen_ppl@hf:other", "distinct_1"]
    assert "gen_ppl@hf:other" in record["suite"]["panel"]["bands"]
    assert canonical_name(f"gen_ppl@hf:{folder}") == "gen_ppl@hf:other"
    assert record["reference"] is None
    write_report(tmp_path / "S", tmp_path / "R")
    table = (tmp_path / "R" / "table.md").read_text()
    # Without reference texts, the table's own row of real text is the judge's real text.
    assert "real text \\(row real text\\) gen\\-PPL" in table


def test_a_gate_can_rest_on_the_second_judge(tmp_path: Path) -> None:
    from elfbench.gates.check import accept, check

    document = {
        "suite": "judged-gate", "version": 1, "title": "A gate", "length": 16, "rows": 32, "seed": 0, "judge": f"hf:{JUDGE}",
        "measure": {"tokenizer": "judge", "window": 12, "short": "keep"}, "models": [{"name": "tiled"}, {"name": "shuffled"}],
        "metrics": [{"name": SECOND}, {"name": "distinct_1"}],
        "gates": {"first_rows": 32, "loss": [{"metric": SECOND, "margin": 0.9}]},
    }  # fmt: skip
    run(Suite.model_validate(document, strict=False), tmp_path / "S")
    accept(tmp_path / "S", tmp_path / "baseline.json", why="first", who="me", when="2025-01-02")
    decision = check(tmp_path / "S", tmp_path / "baseline.json")
    assert decision.status == "PASS"
    assert {verdict.metric for verdict in decision.verdicts} == {SECOND}

from __future__ import annotations

import csv
import io
import json
import math
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import false_discovery_control, norm, ttest_ind, ttest_rel

import elfbench
from elfbench.core.errors import ConfigError, StoreError
from elfbench.reporting.compared import Compared
from elfbench.reporting.comparison import Comparison
from elfbench.reporting.comparison_figure import draw_comparison
from elfbench.reporting.comparison_text import as_csv, as_document, as_markdown
from elfbench.store.store import Store
from tests.elfbench.reporting.made_up import TOKENS, synthetic


@pytest.fixture
def numbers() -> np.random.Generator:
    return np.random.default_rng(7)


def _one(comparison: Comparison, metric: str, row: str | None = None) -> Compared:
    (found,) = (one for one in comparison.compared if one.metric == metric and row in (None, one.row))
    return found


def test_paired_log_metric_against_scipy(tmp_path: Path, numbers: np.random.Generator) -> None:
    a = numbers.normal(40.0, 3.0, 70)
    b = a + numbers.normal(1.0, 1.0, 70)
    store = synthetic(tmp_path / "S", {("A1", "discrete", 8): a, ("B1", "discrete", 8): b})
    one = _one(elfbench.compare("a1", "B1@8", store=store), "gen_ppl")
    reference = ttest_rel(b / TOKENS, a / TOKENS)
    interval = reference.confidence_interval()
    assert one.paired
    assert one.scale == "relative"
    assert one.difference == pytest.approx(math.expm1((b - a).mean() / TOKENS))
    assert (one.low, one.high) == pytest.approx((math.expm1(interval.low), math.expm1(interval.high)))
    assert one.p == pytest.approx(reference.pvalue)
    assert (one.a, one.b) == pytest.approx((math.exp(a.mean() / TOKENS), math.exp(b.mean() / TOKENS)))
    pooled = math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2) / TOKENS
    assert one.effect == pytest.approx((b - a).mean() / TOKENS / pooled)
    assert one.outcome == "A", "lower is better"


def test_other_seeds_are_two_samples(tmp_path: Path, numbers: np.random.Generator) -> None:
    a, b = numbers.normal(40.0, 3.0, 70), numbers.normal(41.0, 5.0, 50)
    rows = {("A1", "discrete", None): a, ("B1", "discrete", None): b}
    store = synthetic(tmp_path / "S", rows, seeds={"B1": 1})
    one = _one(elfbench.compare("A1", "B1", store=store), "bits_per_byte")
    scale = math.log(2.0) * TOKENS * 5
    reference = ttest_ind(b / scale, a / scale, equal_var=False)
    interval = reference.confidence_interval()
    assert not one.paired
    assert (one.n_a, one.n_b) == (70, 50)
    assert one.p == pytest.approx(reference.pvalue)
    assert (one.low, one.high) == pytest.approx((interval.low, interval.high))
    weights = (69 * a.var(ddof=1) + 49 * b.var(ddof=1)) / 118
    assert one.effect == pytest.approx((b.mean() - a.mean()) / math.sqrt(weights))


def test_rows_that_one_side_lacks_do_not_pair(tmp_path: Path, numbers: np.random.Generator) -> None:
    a, b = numbers.normal(40.0, 3.0, 70), numbers.normal(41.0, 3.0, 40)
    rows = {("A1", "discrete", None): a, ("B1", "discrete", None): b}
    one = _one(elfbench.compare("A1", "B1", store=synthetic(tmp_path / "S", rows, empty={"B1": 3})), "gen_ppl")
    keep = np.delete(np.arange(40), 3)
    assert one.n_a == one.n_b == 39
    assert one.p == pytest.approx(ttest_rel(b[keep], a[keep]).pvalue)
    assert one.notes == ("on the 39 rows that both sides use, of 70 in A and 39 in B",)


def test_holm_over_all_that_is_shown(tmp_path: Path, numbers: np.random.Generator) -> None:
    a = numbers.normal(40.0, 3.0, 40)
    rows = {("A1", "discrete", None): a, ("B1", "discrete", None): a + numbers.normal(0.4, 1.0, 40)}
    store = synthetic(tmp_path / "S", rows, pooled={"A1": (1.0, 0.1), "B1": (1.0, 0.1)})
    comparison = elfbench.compare("A1", "B1", store=store)
    p = sorted(one.p for one in comparison.compared)
    stepped = [min(1.0, max((len(p) - j) * p[j] for j in range(i + 1))) for i in range(len(p))]
    assert sorted(one.p_adjusted for one in comparison.compared) == pytest.approx(stepped)
    alone = elfbench.compare("A1", "B1", store=store, metrics=["gen_ppl"])
    assert _one(alone, "gen_ppl").p_adjusted == pytest.approx(_one(alone, "gen_ppl").p)


def test_pooled_metrics_rest_on_stored_intervals(tmp_path: Path, numbers: np.random.Generator) -> None:
    nll = numbers.normal(40.0, 3.0, 40)
    rows = {("Real", "reference", None): nll, ("A1", "discrete", None): nll, ("B1", "discrete", None): nll}
    values = {"Real": (5.0, 0.1), "A1": (4.0, 0.2), "B1": (4.9, 0.3)}
    one = _one(elfbench.compare("A1", "B1", store=synthetic(tmp_path / "S", rows, pooled=values)), "pooled")
    half = math.hypot(0.2, 0.3)
    assert (one.difference, one.low, one.high) == pytest.approx((0.9, 0.9 - half, 0.9 + half))
    assert one.p == pytest.approx(2 * norm.sf(0.9 / (half / norm.isf(0.025))))
    assert "independent normals" in one.method
    assert one.outcome == "B", "4.9 is nearer to 5 than 4 is"


@pytest.mark.parametrize(
    ("a", "b", "real", "outcome"),
    [(4.0, 6.0, 5.0, "differs"), (5.1, 6.0, 5.0, "A"), (4.0, 6.0, None, "differs"), (5.0, 5.01, 9.0, "tie")],
)
def test_match_metrics_are_better_only_where_they_are_surely_nearer(
    tmp_path: Path, numbers: np.random.Generator, a: float, b: float, real: float | None, outcome: str
) -> None:
    nll = numbers.normal(40.0, 3.0, 40)
    rows = {("Real", "reference", None): nll, ("A1", "discrete", None): nll, ("B1", "discrete", None): nll}
    values = {"A1": (a, 0.1), "B1": (b, 0.1)} | ({"Real": (real, 0.1)} if real else {})
    one = _one(elfbench.compare("A1", "B1", store=synthetic(tmp_path / "S", rows, pooled=values)), "pooled")
    assert one.outcome == outcome


def test_the_reference_itself_only_differs(tmp_path: Path, numbers: np.random.Generator) -> None:
    nll = numbers.normal(40.0, 3.0, 40)
    rows = {("Real", "reference", None): nll, ("A1", "discrete", None): nll}
    store = synthetic(tmp_path / "S", rows, pooled={"Real": (5.0, 0.1), "A1": (1.0, 0.1)})
    assert _one(elfbench.compare("Real", "A1", store=store), "pooled").outcome == "differs"


def test_what_one_side_lacks_is_missing(tmp_path: Path, numbers: np.random.Generator) -> None:
    nll = numbers.normal(40.0, 3.0, 40)
    rows = {("A1", "discrete", None): nll, ("B1", "discrete", None): nll + 1.0}
    comparison = elfbench.compare("A1", "B1", store=synthetic(tmp_path / "S", rows, pooled={"A1": (1.0, 0.1)}))
    assert {one.metric for one in comparison.compared} == {"gen_ppl", "bits_per_byte"}
    assert [(gap.metric, gap.why) for gap in comparison.missing] == [("pooled", "not scored in B")]
    with pytest.raises(ConfigError, match="nothing to compare"):
        elfbench.compare("A1", "B1", store=tmp_path / "S", metrics=["pooled"])


def test_pooled_metrics_of_unequal_rows_are_not_compared(tmp_path: Path, numbers: np.random.Generator) -> None:
    nll = numbers.normal(40.0, 3.0, 40)
    rows = {("A1", "discrete", None): nll, ("B1", "discrete", None): nll[:39], ("C1", "discrete", None): nll[:30]}
    values = dict.fromkeys(("A1", "B1", "C1"), (1.0, 0.1))
    store = synthetic(tmp_path / "S", rows, pooled=values)
    nearly = _one(elfbench.compare("A1", "B1", store=store), "pooled")
    assert nearly.notes == ("pooled over numbers of rows that are not quite equal",)
    (gap,) = elfbench.compare("A1", "C1", store=store).missing
    assert (gap.metric, gap.why) == ("pooled", "pooled over unequal numbers of rows, 40 in A and 30 in B")


def test_two_stores_row_by_row(tmp_path: Path, numbers: np.random.Generator) -> None:
    nll = numbers.normal(40.0, 3.0, 40)
    synthetic(tmp_path / "S", {("A1", "discrete", 8): nll, ("A1", "discrete", 16): nll, ("Old", "discrete", 8): nll})
    synthetic(
        tmp_path / "T",
        {("A1", "discrete", 8): nll, ("A1", "discrete", 16): nll + numbers.normal(4.0, 1.0, 40)},
        options={"A1": {"temperature": 0.5}},
    )
    comparison = elfbench.compare(tmp_path / "S", tmp_path / "T")
    assert comparison.unmatched == ("Old@8 (made-up): only in A",)
    assert _one(comparison, "gen_ppl", "A1@8").p == 1.0, "equal numbers"
    assert _one(comparison, "gen_ppl", "A1@8").outcome == "tie"
    assert _one(comparison, "gen_ppl", "A1@16").outcome == "A"
    assert comparison.changed["A1@8"] == ("options.temperature: none -> 0.5",)
    assert "Over 2 rows of the table" in comparison.sentence


def test_unlike_protocols_are_refused_with_the_difference(tmp_path: Path, numbers: np.random.Generator) -> None:
    nll = numbers.normal(40.0, 3.0, 40)
    for folder, digest in (("S", "d1"), ("T", "d2")):
        synthetic(tmp_path / folder, {("A1", "discrete", 8): nll}, digest=digest)
    with pytest.raises(ConfigError, match=r"measurement\.judge\.digest: d1 -> d2"):
        elfbench.compare(tmp_path / "S", tmp_path / "T")


def test_names(tmp_path: Path, numbers: np.random.Generator) -> None:
    nll = numbers.normal(40.0, 3.0, 40)
    rows = {("Elf", "continuous", 8): nll, ("Elf", "continuous", 32): nll, ("Ar", "autoregressive", None): nll + 1}
    store = synthetic(tmp_path / "S", rows)
    by_model = elfbench.compare("elf@32", "ar", store=store)
    assert (by_model.a, by_model.b) == ("Elf@32", "Ar")
    by_id = elfbench.compare(store.cell_ids()[0][:10], store.cell_ids()[1][:10], store=store)
    assert by_id.compared
    for a, b, message in (
        ("Elf", "Ar", r"several rows are called 'Elf'[\s\S]*'Elf@8', 'Elf@32'"),
        ("Elff@8", "Ar", r"no row is called 'Elff@8'[\s\S]*did you mean 'Elf@8'"),
        ("Elf@9", "Ar", r"no row is called 'Elf@9'"),
        ("Elf@8", "elf@8", "the same row"),
    ):
        with pytest.raises(ConfigError, match=message):
            elfbench.compare(a, b, store=store)
    with pytest.raises(ConfigError, match="unknown metric"):
        elfbench.compare("elf@8", "ar", store=store, metrics=["gen_pl"])


def test_stores_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match="--store STORE"):
        elfbench.compare("mdlm@8", "elf@8")
    with pytest.raises(StoreError, match="not an elfbench store"):
        elfbench.compare(tmp_path / "folder", tmp_path / "folder")
    with pytest.raises(StoreError, match="without any suite"):
        elfbench.compare("a", "b", store=Store.create(tmp_path / "S"))


def _entropy(text: str) -> float:
    counts = np.array(list(Counter(text.split()).values()), dtype=float)
    share = counts / counts.sum()
    return float(-(share * np.log(share)).sum())


def test_imported_texts_never_pair(tmp_path: Path, numbers: np.random.Generator) -> None:
    words = [f"w{chr(97 + i)}" for i in range(20)]
    few, many = ([" ".join(numbers.choice(words[:k], 30)) for _ in range(24)] for k in (8, 9))
    for label, texts in (("few", few), ("many", many)):
        elfbench.score(texts, metrics=["unigram_entropy", "distinct_1"], out=tmp_path / "S", label=label)
    comparison = elfbench.compare("few", "many", store=tmp_path / "S")
    one = _one(comparison, "unigram_entropy")
    reference = ttest_ind([_entropy(text) for text in many], [_entropy(text) for text in few], equal_var=False)
    assert not one.paired
    assert one.p == pytest.approx(reference.pvalue)
    assert one.difference == pytest.approx(np.mean([_entropy(t) for t in many]) - np.mean([_entropy(t) for t in few]))
    assert "independent normals" in _one(comparison, "distinct_1").method


def test_rows_of_a_run_pair(tmp_path: Path) -> None:
    elfbench.run("controls", tmp_path / "S", rows=64)
    comparison = elfbench.compare("unigram", "trigram", store=tmp_path / "S")
    one = _one(comparison, "unigram_entropy")
    store = elfbench.open(tmp_path / "S")
    by_model = {store.cell(cell).model: store.rows(cell).texts for cell in store.cell_ids()}
    values = {}
    for name in ("unigram", "trigram"):
        tokens = [re.findall(r"\w+|[^\w\s]", text)[:32] for text in by_model[name]]
        values[name] = {i: _entropy(" ".join(row)) for i, row in enumerate(tokens) if len(row) == 32}
    shared = sorted(values["unigram"].keys() & values["trigram"].keys())
    a, b = ([values[name][i] for i in shared] for name in ("unigram", "trigram"))
    assert one.paired
    assert one.n_a == len(shared)
    assert one.difference == pytest.approx(np.mean(b) - np.mean(a))
    assert one.p == pytest.approx(ttest_rel(b, a).pvalue)


def test_the_adjustment_is_a_choice(tmp_path: Path, numbers: np.random.Generator) -> None:
    a = numbers.normal(40.0, 3.0, 70)
    rows = {
        (f"M{i}", "discrete", 8): a + shift + numbers.normal(0.0, 1.0, 70) for i, shift in enumerate((0.0, 0.3, 0.3))
    }
    stores = [
        synthetic(tmp_path / name, rows, seeds={f"M{i}": seed for i in range(3)}) for name, seed in (("A", 0), ("B", 1))
    ]
    holm, bh = (elfbench.compare(*stores, adjust=adjust) for adjust in ("holm", "bh"))
    p = [one.p for one in holm.compared]
    assert [one.p_adjusted for one in bh.compared] == pytest.approx(false_discovery_control(p, method="bh"))
    assert all(low.p_adjusted <= high.p_adjusted for low, high in zip(bh.compared, holm.compared, strict=True))
    assert (as_document(holm)["adjust"], as_document(bh)["adjust"]) == ("holm", "bh")
    assert "p (BH)" in as_markdown(bh)
    assert "p (Holm)" in as_markdown(holm)
    assert "false on average" in bh.sentence
    assert "false on average" not in holm.sentence
    with pytest.raises(ConfigError, match="adjustment"):
        elfbench.compare(*stores, adjust="none")


@pytest.fixture
def comparison(tmp_path: Path, numbers: np.random.Generator) -> Comparison:
    nll = numbers.normal(40.0, 3.0, 40)
    rows = {("A|1 <b>", "discrete", None): nll, ("=B1 $x_1$", "discrete", None): nll + numbers.normal(1.0, 1.0, 40)}
    pooled = {"A|1 <b>": (1.0, 0.0), "=B1 $x_1$": (1.0, 0.0)}
    store = synthetic(tmp_path / "S", rows, pooled=pooled)
    found: Comparison = elfbench.compare("A|1 <b>", "=B1 $x_1$", store=store)
    return found


def test_the_document_is_json(comparison: Comparison) -> None:
    document = json.loads(json.dumps(as_document(comparison), allow_nan=False))
    assert {one["metric"] for one in document["compared"]} == {"gen_ppl", "bits_per_byte", "pooled"}
    assert document["sentence"].startswith("B (=B1")
    assert "training-seed variance unknown" in document["caveat"]
    (still,) = (one for one in document["compared"] if one["metric"] == "pooled")
    assert (still["effect"], still["p"], still["outcome"]) == (None, 1.0, "tie")


def test_hostile_labels_are_text_in_every_file(comparison: Comparison) -> None:
    text = as_markdown(comparison)
    assert "<b>" not in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    rows = list(csv.DictReader(io.StringIO(as_csv(comparison))))
    assert not any(row["row"].startswith("=") for row in rows)
    assert float(rows[0]["p"]) == comparison.compared[0].p


def test_the_figure_is_byte_stable(comparison: Comparison) -> None:
    first, second = draw_comparison(comparison), draw_comparison(comparison)
    assert first is not None
    assert first == second
    assert first.png.startswith(b"\x89PNG")
    assert first.pdf.startswith(b"%PDF")


def test_the_verb(tmp_path: Path, numbers: np.random.Generator) -> None:
    nll = numbers.normal(40.0, 3.0, 40)
    rows = {("A1", "discrete", 8): nll, ("B1", "discrete", 8): nll + numbers.normal(2.0, 1.0, 40)}
    synthetic(tmp_path / "S", rows)
    code = (
        "import sys, contextlib\nfrom elfbench.cli.main import main\n"
        "with contextlib.suppress(SystemExit):\n    main(sys.argv[1:])\n"
        "print(*{'torch', 'transformers', 'datasets', 'matplotlib'} & set(sys.modules), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "compare", "A1@8", "B1@8", "--store", "S"]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert shown.stderr.split() == [], "nothing heavy is imported without a figure"
    assert "A is better in gen ppl and bits per byte" in shown.stdout
    done = subprocess.run([*command, "--json", "--out", "R"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [Path(path).name for path in json.loads(done.stdout)["files"]] == [
        "comparison.md",
        "comparison.csv",
        "comparison.png",
        "comparison.pdf",
    ]
    assert all((tmp_path / path).is_file() for path in json.loads(done.stdout)["files"])

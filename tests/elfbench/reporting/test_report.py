from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from elfbench.core.errors import ConfigError, StoreError
from elfbench.reporting.escaping import latex, markdown, spreadsheet
from elfbench.reporting.numbers import decimals, formatted
from elfbench.reporting.ranks import rankings_of
from elfbench.reporting.report import write_report
from elfbench.reporting.section import load_sections
from elfbench.spec.cell import Cell
from elfbench.spec.metric import Score
from elfbench.store.shards import RowRange, text_table
from elfbench.store.store import Store

HOSTILE = "<script>alert(1)</script> =1+1 \\input{x} $x_1$ | `a` \u202e reversed [l](javascript:x)"
METRICS = {
    "gen_ppl": ("gen-PPL", "lower", "judge_nll"),
    "unigram_entropy": ("entropy", "match", "tokens"),
    "mauve": ("MAUVE", "higher", "features"),
    "nfe": ("NFE", "lower", "cost"),
}
# model, family, steps, then value and half width per metric
ROWS = [
    ("real-text", "reference", None, (30.0, 1.0), (4.5, 0.01), (0.96, 0.01), (0.0, 0.0)),
    ("tiled", "control", None, (29.0, 0.0), (4.4, 0.0), (0.004, 0.0), (0.0, 0.0)),
    ("ar", "autoregressive", None, (50.0, 5.0), (4.6, 0.02), (0.50, 0.05), (64.0, 0.0)),
    ("mdlm", "discrete", 8, (90.0, 6.0), (4.7, 0.02), (0.30, 0.05), (8.0, 0.0)),
    ("mdlm", "discrete", 32, (55.0, 5.0), (4.52, 0.02), (0.45, 0.05), (28.0, 0.2)),
    ("elf", "continuous", 8, (80.0, 6.0), (4.0, 0.02), (0.2, 0.05), (9.0, 0.0)),
    ("elf", "continuous", 32, (70.0, 6.0), (4.2, 0.02), (0.25, 0.05), (33.0, 0.0)),
]


def _metric(name: str) -> dict[str, object]:
    title, direction, measurement = METRICS[name]
    instrument = {"judge": {"name": "j", "title": "Judge_1 & Co", "digest": "d" * 64}} if name == "gen_ppl" else {}
    protocol = {
        "measurement": {"measurement": measurement, "version": 1, "window": 36, **instrument},
        "parameters": {},
        "interval": {"level": 0.95, "seed": 0},
    }
    return {
        "metric": name, "version": 1, "title": title, "unit": "", "direction": direction, "description": "", "fingerprint": f"f-{name}",
        "protocol": protocol, "n_requested": 32, "needs_reference": False,
    }  # fmt: skip


def _fill(
    store: Store, *, label: str = "", rows: list[tuple] = ROWS, without: tuple[str, str] | None = None, version: int = 1,
    panel: dict[str, object] | None = None,
) -> None:  # type: ignore[type-arg]  # fmt: skip
    cells = []
    for model, family, steps, *values in rows:
        cell = Cell(
            model=model,
            revision="1",
            implementation=1,
            weights_digest=None,
            tokenizer_digest="t",
            length=8,
            steps=steps,
            root_seed=0,
        )
        store.add_cell(cell)
        texts = [HOSTILE, "a plain text", ""]
        for part in store.missing(cell.id, 3):
            store.write_shard(
                cell.id,
                part,
                text_table(RowRange(0, 3), texts),
                {"code": "c" * 64, "device": "cpu", "seconds": 1.0, "versions": {"torch": "2"}},
            )
        for name, (value, half) in zip(METRICS, values, strict=True):
            if without == (model, name):
                continue
            score = Score(
                cell=cell.id, metric=name, version=1, protocol=_metric(name)["protocol"], fingerprint=f"f-{name}", value=value, low=value - half, high=value + half,
                level=0.95, n=31, n_requested=32, n_dropped=1, unit="", method="test", covers="rows", detail={}, rows_digest="r", reference_digest=None,
            )  # fmt: skip
            store.write_score(score, f"{cell.id[:40]}{name.encode().hex():0<24}"[:64])
        cells.append(
            {
                "cell": cell.id,
                "model": model,
                "label": model + label,
                "family": family,
                "steps": steps,
                "options": {},
                "n_rows": 3,
                "n_params": None,
            }
        )
    suite = {
        "suite": "test",
        "version": version,
        "title": "A test" + label,
        "description": "Rough.",
        "measure": {"view": "final", "window": 36, "tokenizer": "judge"},
        **({"panel": panel} if panel else {}),
    }
    store.write_suite(
        "test",
        {
            "suite": suite,
            "command": "elfbench run test --out STORE",
            "cells": cells,
            "metrics": [_metric(name) for name in METRICS],
            "reference": None,
        },
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "S")


class Links(HTMLParser):
    """Everything in a page that could fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.targets += [
            value or ""
            for name, value in attrs
            if name in ("src", "href", "action", "srcset", "data") or name.startswith("on")
        ]


def test_the_same_store_gives_the_same_bytes(store: Store, tmp_path: Path) -> None:
    _fill(store)
    contents = []
    for name in ("one", "two"):
        write_report(store.root, tmp_path / name)
        contents.append(
            {
                path.relative_to(tmp_path / name): path.read_bytes()
                for path in (tmp_path / name).rglob("*")
                if path.is_file()
            }
        )
    assert contents[0] == contents[1]
    names = {path.name for path in contents[0]}
    assert names >= {"index.html", "results.csv", "table.md", "table.tex"}
    for figure in ("entropy_vs_ppl", "ppl_vs_steps", "ppl_vs_nfe", "mauve_vs_steps"):
        assert {f"{figure}.png", f"{figure}.pdf", f"{figure}.csv"} <= names


def test_nothing_in_the_page_is_live(store: Store, tmp_path: Path) -> None:
    _fill(store, label=HOSTILE)
    files = write_report(store.root, tmp_path / "R")
    page = files.page.read_text()
    links = Links()
    links.feed(page)
    assert not links.tags & {"script", "iframe", "link", "object", "embed", "form", "a", "base"}
    assert links.targets
    assert all(target.startswith("data:image/png;base64,") for target in links.targets)
    assert "default-src 'none'" in page
    assert "\u202e" not in page


def test_panel_and_ranks_are_files_and_parts_of_the_page(store: Store, tmp_path: Path) -> None:
    _fill(store, panel={"bands": {"mauve": {"low": 0.9}}, "controls": []})
    files = write_report(store.root, tmp_path / "R")
    assert tmp_path / "R" / "panel.md" in files.tables
    text = (tmp_path / "R" / "panel.md").read_text()
    assert "| MAUVE | at least 0.9 |" in text
    assert "| tiled | control | 1 of 1 |" in text
    page = files.page.read_text()
    assert "What each metric rejects" in page
    assert "<h2>Ranks</h2>" in page
    assert tmp_path / "R" / "ranks.md" in files.tables
    lines = list(csv.DictReader(io.StringIO((tmp_path / "R" / "ranks.csv").read_text())))
    first = {f"{line['model']}{line['steps']}" for line in lines if (line["metric"], line["low"]) == ("gen_ppl", "1")}
    assert first == _best(store, "gen_ppl"), "what may be first is bold"
    assert {line["metric"] for line in lines} == {"gen_ppl", "unigram_entropy", "mauve"}, "costs are no contest"
    assert "<b>50.0</b>" in page
    assert "<b>70.0</b>" not in page


def test_hostile_labels_are_text_in_every_format(store: Store, tmp_path: Path) -> None:
    _fill(store, label=HOSTILE)
    write_report(store.root, tmp_path / "R")
    tex = (tmp_path / "R" / "table.tex").read_text()
    assert r"\input" not in tex
    body = re.sub(r"\\[{}]", "", tex)
    assert body.count("{") == body.count("}")
    table = (tmp_path / "R" / "table.md").read_text()
    assert "<script" not in table
    header, *rows = [line for line in table.splitlines() if line.startswith("|")]
    columns = len(re.findall(r"(?<!\\)\|", header))
    assert all(len(re.findall(r"(?<!\\)\|", row)) == columns for row in rows)
    with (tmp_path / "R" / "results.csv").open(newline="") as stream:
        parsed = list(csv.DictReader(stream))
    assert len(parsed) == len(ROWS) * len(METRICS)
    assert not any(value.startswith(("=", "+", "@")) for row in parsed for value in row.values())
    assert float(parsed[0]["value"]) == 30.0


def test_a_missing_score_is_missing(store: Store, tmp_path: Path) -> None:
    _fill(store, without=("ar", "gen_ppl"))
    files = write_report(store.root, tmp_path / "R")
    line = next(line for line in (tmp_path / "R" / "table.md").read_text().splitlines() if line.startswith("| ar |"))
    assert line.split("|")[3].strip() == "\N{EN DASH}"
    assert "1 numbers are missing" in files.page.read_text()
    rows = list(csv.DictReader(io.StringIO(files.results.read_text())))
    assert [row["value"] for row in rows if row["model"] == "ar" and row["metric"] == "gen_ppl"] == [""]


def _best(store: Store, metric: str) -> set[str]:
    (section,) = load_sections(store, None)
    names = {cell.id: f"{cell.model}{cell.steps or ''}" for cell in section.cells}
    rankings = rankings_of(store, section)
    return {names[cell_id] for cell_id in rankings[metric].best()} if metric in rankings else set()


def test_bold_is_for_ties_with_the_best_model_and_never_for_controls(store: Store) -> None:
    _fill(store)
    assert _best(store, "gen_ppl") == {"ar", "mdlm32"}
    assert _best(store, "mauve") == {"ar", "mdlm32"}
    assert _best(store, "unigram_entropy") == {"mdlm32"}
    assert _best(store, "nfe") == set(), "costs are no contest"


def test_swapping_two_tied_models_moves_no_bold(store: Store) -> None:
    rows = [row if row[0] != "ar" else (*row[:3], (55.0, 5.0), *row[4:]) for row in ROWS]
    rows = [row if (row[0], row[2]) != ("mdlm", 32) else (*row[:3], (50.0, 5.0), *row[4:]) for row in rows]
    _fill(store, rows=rows)
    assert _best(store, "gen_ppl") == {"ar", "mdlm32"}


def test_several_versions_of_a_suite_must_be_chosen(store: Store, tmp_path: Path) -> None:
    _fill(store)
    _fill(store, version=2)
    with pytest.raises(ConfigError, match="several versions") as caught:
        write_report(store.root, tmp_path / "R")
    assert not (tmp_path / "R").exists()
    choice = re.search(r"--suite (\S+)", str(caught.value))
    assert choice is not None
    write_report(store.root, tmp_path / "R", suite=choice[1])
    with pytest.raises(ConfigError, match="no such suite"):
        write_report(store.root, tmp_path / "R", suite="nothing")


def test_one_cell_and_no_figures(store: Store, tmp_path: Path) -> None:
    _fill(store, rows=ROWS[2:3])
    files = write_report(store.root, tmp_path / "R")
    assert files.figures == ()
    assert "No figure" in files.page.read_text()


def test_empty_and_unwritable_places(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="without any suite"):
        write_report(store.root, tmp_path / "R")
    _fill(store)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="needs a folder"):
        write_report(store.root, tmp_path / "file")
    with pytest.raises(StoreError, match="cannot write"):
        write_report(store.root, tmp_path / "file" / "R")


@pytest.mark.parametrize(
    ("low", "high", "places"),
    [
        (22.9, 25.3, 1),
        (100.0, 160.0, 0),
        (3.5943, 3.6092, 3),
        (0.004072, 0.004072, 6),
        (64.0, 64.0, 0),
        (0.0, 0.0, 0),
        (1.297, 1.346, 3),
        (1e-9, 3e-9, 10),
    ],
)
def test_digits_follow_the_interval(low: float, high: float, places: int) -> None:
    assert decimals(low, high) == places


def test_value_and_interval_have_equal_decimals() -> None:
    fields = dict.fromkeys(("cell", "metric", "fingerprint", "unit", "method", "covers", "rows_digest"), "")
    numbers = {
        "value": 24.08,
        "low": 22.91,
        "high": 25.4,
        "level": 0.95,
        "version": 1,
        "n": 1,
        "n_requested": 1,
        "n_dropped": 0,
    }
    score = Score(**fields, **numbers, protocol={}, detail={}, reference_digest=None)  # type: ignore[arg-type]
    assert formatted(score) == ("24.1", "[22.9, 25.4]")


def test_escapes() -> None:
    assert latex("50% of $x_1$ & \\y{z}") == r"50\% of \$x\_1\$ \& \textbackslash{}y\{z\}"
    assert markdown("a|b <i> *c*") == r"a\|b &lt;i&gt; \*c\*"
    assert [spreadsheet(value) for value in ("=1", "+1", "-1", "@a", "a", -1, 2.5)] == [
        "'=1",
        "'+1",
        "'-1",
        "'@a",
        "a",
        -1,
        2.5,
    ]


def test_report_needs_no_torch(store: Store, tmp_path: Path) -> None:
    _fill(store)
    code = f"import sys\nimport elfbench\nelfbench.write_report({str(store.root)!r}, {str(tmp_path / 'R')!r})\nassert not {{'torch', 'transformers', 'datasets'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_files_scored_one_after_the_other_share_a_table(tmp_path: Path) -> None:
    import elfbench

    elfbench.score(["a b c d", "b c d e", "c d e f"], metrics=["distinct_1"], out=tmp_path / "S", label="one")
    elfbench.score(
        ["x y", "y z", "z x", "x x"], metrics=["distinct_1", "unigram_entropy"], out=tmp_path / "S", label="two"
    )
    elfbench.score(["a b c d", "b c d e", "c d e f"], metrics=["unigram_entropy"], out=tmp_path / "S", label="one")
    write_report(tmp_path / "S", tmp_path / "R")
    lines = [
        line for line in (tmp_path / "R" / "table.md").read_text().splitlines() if line.startswith(("| one", "| two"))
    ]
    assert len(lines) == 2
    assert not any("\N{EN DASH}" in line for line in lines), "every file has both metrics by now"


def test_more_rows_replace_fewer_in_the_table(tmp_path: Path) -> None:
    import elfbench

    for rows in (64, 128):
        elfbench.run("controls", tmp_path / "S", rows=rows)
    write_report(tmp_path / "S", tmp_path / "R")
    with (tmp_path / "R" / "results.csv").open(newline="") as stream:
        assert {row["n_requested"] for row in csv.DictReader(stream)} == {"128"}

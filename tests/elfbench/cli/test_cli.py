from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HOSTILE = [
    "<script>alert(1)</script>",
    "=cmd|' /C calc'!A0",
    "\\input{/etc/passwd} $x_1$ & 50%",
    "a | b `c` [d](e)",
    "plain words here and more",
]


def _elfbench(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "elfbench.cli.main", *arguments], capture_output=True, text=True, cwd=cwd
    )


@pytest.mark.parametrize(
    "verb", ["run", "plan", "sample", "score", "report", "list", "show", "train", "doctor", "setup"]
)
def test_every_verb_explains_itself_with_an_example(verb: str) -> None:
    done = _elfbench(verb, "--help")
    assert done.returncode == 0
    assert "--json" in done.stdout
    assert "Example" in done.stdout


@pytest.mark.parametrize("kind", ["models", "suites", "metrics", "judges"])
def test_lists_are_objects_with_a_name(kind: str) -> None:
    document = json.loads(_elfbench("list", kind, "--json").stdout)
    assert document
    assert all(item["name"] for item in document)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("rnu",), "did you mean 'run'"),
        (("list", "modells"), "did you mean 'models'"),
        (("sample", "elf-sotuu"), "did you mean 'elf-sotu'"),
        (("sample", "unigram", "--option", "x=1"), "unknown option"),
        (("sample", "unigram", "--option", "x"), "name=value"),
        (("sample", "mdlm-sotu", "--steps", "0"), "steps"),
        (("sample", "real-text", "--trace"), "no path to show"),
        (("run", "demmo", "--out", "S"), "did you mean 'demo'"),
        (("run", "demo"), "--out"),
        (("score", "none.jsonl"), "no such samples file"),
        (("report", "nowhere", "--out", "R"), "not an elfbench store"),
        (("show", "mdlm"), "did you mean 'mdlm-sotu'"),
        (("train", "elf-sott", "--out", "T"), "did you mean 'elf-sotu'"),
        (("--plugin", "none.py", "list"), "no such plug-in file"),
        (("sample", "elf-oracle", "--device", "gpu"), "no such device here"),
        (("run", "oracle", "--out", "S", "--device", "cuda:77"), "--device"),
    ],
)
def test_mistakes_end_with_2_and_say_what_to_type(tmp_path: Path, arguments: tuple[str, ...], hint: str) -> None:
    done = _elfbench(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert hint in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        ("steps: 11000", "steps: many", "key:     steps"),
        ("batch_size: 32", "batch_size: 0", "a whole number >= 1"),
        ("  corpus: oracle\n", "", "data.corpus"),
        ("optimizer:\n", "optimizer: adam\nloss:\n", "key:     optimizer"),
        ("  lr: 0.015", "  lrr: 0.015", "did you mean 'lr'"),
        ("  hidden: 64", "  hiden: 64", "'hidden'"),
        ("  kind: ppmi_svd", "  kind: ppmi", "did you mean 'ppmi_svd'"),
    ],
)
def test_a_wrong_recipe_ends_with_2_and_leaves_no_folder(
    tmp_path: Path, old: str, new: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from elf_model.train import recipe_path
    from elfbench.cli.main import main

    text = recipe_path("elf-oracle").read_text()
    assert old in text
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(text.replace(old, new))
    with pytest.raises(SystemExit) as stop:
        main(["train", str(recipe), "--out", str(tmp_path / "T")])
    assert stop.value.code == 2
    assert hint in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [recipe]


def test_a_trace_of_several_texts_says_that_it_shows_one(capsys: pytest.CaptureFixture[str]) -> None:
    from elfbench.cli.main import main

    with pytest.raises(SystemExit) as stop:
        main(["sample", "elf-oracle", "--trace", "-n", "3", "--steps", "2", "--frames", "2"])
    assert stop.value.code in (0, None)
    shown = capsys.readouterr()
    assert "100%" in shown.out
    assert "--trace shows one text" in shown.err


def test_score_and_report_of_hostile_foreign_samples(tmp_path: Path) -> None:
    samples = tmp_path / "samples.jsonl"
    samples.write_text("".join(json.dumps({"text": text}) + "\n" for text in HOSTILE))
    scored = _elfbench("score", "samples.jsonl", "--metric", "distinct", "--out", "S", "--json", cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr
    document = json.loads(scored.stdout)
    assert [result["metric"] for result in document["results"]] == [
        "distinct_1",
        "distinct_2",
        "distinct_3",
        "distinct_4",
    ]
    for result in document["results"]:
        assert result["low"] <= result["value"] <= result["high"]
        assert result["protocol"] == "clean"
    reported = _elfbench("report", "S", "--out", "R", cwd=tmp_path)
    assert reported.returncode == 0, reported.stderr
    page = (tmp_path / "R" / "index.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_run_twice_then_report_and_show(tmp_path: Path) -> None:
    first = _elfbench("run", "controls", "--rows", "64", "--out", "S", "--json", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["rows_made"] == 320
    second = _elfbench("run", "controls", "--rows", "64", "--out", "S", cwd=tmp_path)
    assert "nothing to compute" in second.stderr
    assert _elfbench("report", "S", "--out", "R", cwd=tmp_path).returncode == 0
    shown = json.loads(_elfbench("plan", "controls", "--out", "S", "--json", cwd=tmp_path).stdout)
    cell = shown["cells"][0]["cell"]
    document = json.loads(_elfbench("show", cell[:10], "--store", "S", "--json", cwd=tmp_path).stdout)
    assert document["id"] == cell
    assert document["shards"]
    key = document["scores"][0].rsplit("(", 1)[1].rstrip(")")
    score = json.loads(_elfbench("show", key, "--store", "S", "--json", cwd=tmp_path).stdout)
    assert score["protocol"]["measurement"]["tokenizer"]["name"] == "words"


def test_json_is_one_document_on_stdout() -> None:
    for arguments in (
        ("show", "mdlm-sotu", "--json"),
        ("show", "demo", "--json"),
        ("show", "mauve", "--json"),
        ("doctor", "--json"),
        ("plan", "demo", "--json"),
        ("setup", "--dry-run", "--json"),
    ):
        done = _elfbench(*arguments)
        assert done.returncode == 0, (arguments, done.stderr)
        assert json.loads(done.stdout)


def test_a_bug_is_told_with_a_file(tmp_path: Path) -> None:
    plugin = tmp_path / "bug.py"
    plugin.write_text("raise KeyError('a bug')")
    done = _elfbench("--plugin", str(plugin), "list")
    assert done.returncode == 70
    traceback = Path(done.stderr.strip().rsplit(" ", 1)[1])
    assert "a bug" in traceback.read_text()
    traceback.unlink()


def test_ctrl_c_leaves_a_store_that_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "elfbench.cli.main", "run", "controls", "--rows", "128", "--out", "S"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if "rows 0-63" in line:
                running.send_signal(signal.SIGINT)
                break
        rest = running.stderr.read()
        assert running.wait() == 130
    assert "the same command continues" in rest
    assert "Traceback" not in rest
    kept = len(list((tmp_path / "S").glob("cells/*/*/rows-*.parquet")))
    assert kept >= 1
    again = _elfbench("run", "controls", "--rows", "128", "--out", "S", "--json", cwd=tmp_path)
    assert json.loads(again.stdout)["rows_made"] == 640 - 64 * kept


def test_the_version_needs_no_verb_and_a_family_is_shown_with_its_members(capsys: pytest.CaptureFixture[str]) -> None:
    from elfbench.cli.main import main

    def out(*arguments: str) -> str:
        with pytest.raises(SystemExit) as stop:
            main(list(arguments))
        assert stop.value.code in (0, None)
        return capsys.readouterr().out

    assert out("--version").startswith("elfbench ")
    assert list(json.loads(out("show", "distinct", "--json"))["metrics"]) == [f"distinct_{n}" for n in (1, 2, 3, 4)]
    assert json.loads(out("show", "gen_ppl", "--json"))["other protocols"]["elf"] == "gen_ppl_elf"


def test_steps_of_a_model_without_steps_are_said_to_change_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    from elfbench.cli.main import main

    with pytest.raises(SystemExit):
        main(["sample", "exact-oracle", "--steps", "8", "-n", "1", "--length", "8"])
    assert "exact-oracle has no sampling steps: --steps 8 changes nothing" in capsys.readouterr().err

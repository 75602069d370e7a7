from __future__ import annotations

import json
from pathlib import Path

import pytest

from elfbench.core.errors import ConfigError
from elfbench.loading.prompts import load_prompts
from elfbench.spec.prompts import PromptSet, condition_text
from elfbench.spec.sampling import Prompt, SampleRequest


def _file(folder: Path, *rows: object) -> Path:
    path = folder / "pairs.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return path


def test_examples_come_in_file_order_and_rows_share_them(tmp_path: Path) -> None:
    path = _file(tmp_path, {"input": "eins", "output": "one"}, {"input": "zwei\u2028", "output": ""})
    found = load_prompts(path, draws=2)
    assert (found.name, found.inputs, found.outputs) == ("pairs", ("eins", "zwei\u2028"), ("one", ""))
    assert found.n_rows == 4
    assert found.row_outputs() == ("one", "one", "", "")
    assert found.prompts(1, 3, 9) == (Prompt("eins", (9,)), Prompt("zwei\u2028", (9,)))


def test_a_prefix_is_a_segment_before_the_gap_and_both_give_one_text() -> None:
    prefix, source = (PromptSet("set", task, ("given",), ("then",), 1) for task in ("prefix", "seq2seq"))  # type: ignore[arg-type]
    assert prefix.prompts(0, 1, 5) == (Prompt(None, ("given", 5)),)
    assert [condition_text(one.prompts(0, 1, 5)[0]) for one in (prefix, source)] == ["given", "given"]


def test_the_digest_is_of_what_can_change_samples() -> None:
    base = PromptSet("a", "seq2seq", ("x", "y"), ("1", "2"), 1)
    assert PromptSet("b", "seq2seq", ("x", "y"), ("1", "3"), 1).digest == base.digest
    others = [
        PromptSet("a", "seq2seq", ("x", "z"), ("1", "2"), 1),
        PromptSet("a", "seq2seq", ("y", "x"), ("1", "2"), 1),
        PromptSet("a", "prefix", ("x", "y"), ("1", "2"), 1),
        PromptSet("a", "seq2seq", ("x", "y"), ("1", "2"), 2),
    ]
    assert len({base.digest, *(other.digest for other in others)}) == 5


@pytest.mark.parametrize(
    ("row", "hint"),
    [
        ({"inputs": "a", "output": "b"}, r"line 2.*'input'(.|\n)*did you mean 'inputs'"),
        ({"input": "a", "summary": "b"}, "name the field with 'output:'"),
        ({"input": " ", "output": "b"}, "an empty input"),
        (["a", "b"], "a line that is no example"),
        ({"input": 3, "output": "b"}, "without the text 'input'"),
    ],
)
def test_wrong_rows_are_told_with_their_line(tmp_path: Path, row: object, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        load_prompts(_file(tmp_path, {"input": "a", "output": "b"}, row))


def test_other_fields_can_be_named(tmp_path: Path) -> None:
    path = _file(tmp_path, {"de": "eins", "en": "one"})
    assert load_prompts(path, input_key="de", output_key="en").outputs == ("one",)


def test_no_file_no_example_and_no_json(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such prompt file"):
        load_prompts(tmp_path / "none.jsonl")
    path = tmp_path / "empty.jsonl"
    path.write_text("\n")
    with pytest.raises(ConfigError, match="without examples"):
        load_prompts(path)
    path.write_text("{\n")
    with pytest.raises(ConfigError, match=r"line 1(.|\n)*\{"):
        load_prompts(path)


def test_a_request_has_one_prompt_per_row_and_parts_keep_them() -> None:
    prompts = tuple(Prompt(str(number), (4,)) for number in range(3))
    request = SampleRequest((0, 1, 2), (5, 6, 7), 4, prompts=prompts)
    assert request.part(1, 3).prompts == prompts[1:]
    with pytest.raises(ConfigError, match="one prompt per row"):
        SampleRequest((0, 1), (5, 6), 4, prompts=prompts)

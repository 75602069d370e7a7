"""The verb `parity`: which files are read, what fails, and what the errors say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import elfbench
from elfbench.cli.main import main
from elfbench.core.errors import ConfigError

GOLDEN = Path(__file__).resolve().parents[2] / "golden"


def _exit_code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["parity", *arguments])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def _copy(source: Path, target: Path, *, kind: str | None = None, change: str | None = None) -> Path:
    """A file like `source`, with another kind or with one output moved."""
    with safe_open(source, framework="pt") as file:
        document = json.loads(file.metadata()["golden"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if kind is not None:
        document["kind"] = kind
    if change is not None:
        tensors[change] = tensors[change] + 0.05
    save_file(tensors, target, metadata={"golden": json.dumps(document)})
    return target


def test_all_reference_files_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert _exit_code(str(GOLDEN / "elf"), str(GOLDEN / "discrete"), str(GOLDEN / "elf" / "muon.safetensors")) == 0
    printed = capsys.readouterr()
    assert "checked outputs are within tolerance\n" in printed.err  # and none is left unchecked
    assert "checkpoint_7: not a safetensors file" in printed.err
    assert printed.out.count("step2.proj_kernel") == 1  # a file that is given twice is read once
    assert " NO" not in printed.out


def test_one_changed_output_fails_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(GOLDEN / "elf" / "sample_ode.safetensors", tmp_path)
    _copy(GOLDEN / "elf" / "loss.safetensors", tmp_path / "loss.safetensors", change="out.l2")
    assert _exit_code(str(tmp_path), "--json") == 1
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert not document["passed"]
    assert [output["output"] for output in document["outputs"] if not output["ok"]] == ["l2"]
    assert "1 of" in printed.err
    assert _exit_code(str(tmp_path)) == 1
    assert capsys.readouterr().out.count(" NO") == 1


def test_another_shape_is_a_miss_that_json_can_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with safe_open(GOLDEN / "discrete" / "dit_causal.safetensors", framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors["out.logits"] = tensors["out.logits"][:, :-1].contiguous()
    tensors["out.logits_from_soft"] = torch.full_like(tensors["out.logits_from_soft"], float("nan"))
    save_file(tensors, tmp_path / "x.safetensors", metadata=metadata)
    assert _exit_code(str(tmp_path), "--json") == 1
    rows = json.loads(capsys.readouterr().out)["outputs"]
    assert [(row["difference"], row["status"]) for row in rows] == [(None, "miss"), (None, "miss")]


def test_unknown_kind_names_the_kinds(tmp_path: Path) -> None:
    _copy(GOLDEN / "elf" / "muon.safetensors", tmp_path / "x.safetensors", kind="elf.mun")
    with pytest.raises(
        ConfigError, match=r"x\.safetensors 'elf\.mun'[\s\S]*dit\.forward[\s\S]*did you mean 'elf\.muon'"
    ):
        elfbench.parity(tmp_path)
    assert _exit_code(str(tmp_path)) == 2


def test_truncated_and_broken_files_are_named(tmp_path: Path) -> None:
    content = (GOLDEN / "elf" / "muon.safetensors").read_bytes()
    for size in (0, 5, 100, len(content) // 2):
        (tmp_path / "torn.safetensors").write_bytes(content[:size])
        with pytest.raises(ConfigError, match=r"torn\.safetensors can't be read"):
            elfbench.parity(tmp_path)
    for golden in ("{", "[]"):
        save_file({"x": torch.zeros(1)}, tmp_path / "torn.safetensors", metadata={"golden": golden})
        with pytest.raises(ConfigError, match="document is no JSON"):
            elfbench.parity(tmp_path)
    assert _exit_code(str(tmp_path)) == 2


def test_what_a_file_lacks_is_named(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    save_file({"x": torch.zeros(1)}, file, metadata={"golden": '{"kind": "elf.sample", "model": {}}'})
    with pytest.raises(ConfigError, match=r"can't be run as elf\.sample[\s\S]*missing"):
        elfbench.parity(file)
    save_file({"x": torch.zeros(1)}, file, metadata={"golden": '{"kind": "elf.loss", "model": {}}'})
    with pytest.raises(ConfigError, match=r"lacks what a file of kind elf\.loss holds[\s\S]*latent_mean"):
        elfbench.parity(file)


def test_nothing_to_check_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing to check[\s\S]*model\.safetensors: no 'golden' document"):
        elfbench.parity(GOLDEN / "metrics" / "judge" / "model.safetensors")
    with pytest.raises(ConfigError, match="nothing to check"):
        elfbench.parity(tmp_path)
    with pytest.raises(ConfigError, match="does not exist"):
        elfbench.parity(tmp_path / "absent")
    assert _exit_code(str(GOLDEN / "metrics")) == 2

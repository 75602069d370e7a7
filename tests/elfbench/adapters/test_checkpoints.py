"""The verb `import-checkpoint`: what it writes, what it refuses, and that a refusal leaves nothing behind."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from elf_model.model import load_model
from elfbench.cli.main import main
from elfbench.core.canonical import file_digest

ROOT = Path(__file__).resolve().parents[3]
CHECKPOINT = ROOT / "tests" / "golden" / "elf" / "checkpoint_7"
CONFIG: dict[str, Any] = {
    "data_path": "somewhere",
    "vocab_size": 50,
    "text_encoder_dim": 16,
    "hidden_size": 32,
    "depth": 4,
    "num_heads": 2,
    "max_length": 24,
    "bottleneck_dim": 8,
    "latent_std": 0.2,
    "denoiser_p_mean": -1.5,
    "denoiser_noise_scale": 2.0,
}


class Hostile:
    """Its unpickling creates the file `mark`."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return _yaml(tmp_path / "config.yml", CONFIG)


def _yaml(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def _verb(*arguments: str | Path) -> int:
    try:
        main(["import-checkpoint", *map(str, arguments)])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def _import(file: Path, config: Path, out: Path, *more: str) -> int:
    return _verb(file, "--config", config, "--out", out, *more)


def _official(name: str) -> dict[str, torch.Tensor]:
    return dict(torch.load(CHECKPOINT, weights_only=True)[name])


def test_import_is_exact_and_recorded(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a" / "b"
    assert _import(CHECKPOINT, config, out, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    record = json.loads((out / "weights.json").read_text())
    assert printed.pop("files") == {"weights": str(out / "weights.safetensors"), "record": str(out / "weights.json")}
    assert printed == record
    assert record["sha256"] == file_digest(out / "weights.safetensors")
    assert (record["source"], record["source_sha256"]) == ("checkpoint_7", file_digest(CHECKPOINT))
    assert (record["weights"], record["step"], record["epoch"]) == ("ema_params1", 7, 1)
    assert record["unread"] == ["params", "opt_state", "lr_scheduler", "dropout_rng", "grad_accum_buffers"]
    assert "decoder_prob" in record["config_defaults"]
    loaded = load_model(out / "weights.safetensors")
    assert loaded.table is None
    assert loaded.config.to_dict() == record["config"]
    assert loaded.config.noise_scale == 2.0
    assert record["n_params"] == sum(tensor.numel() for tensor in loaded.net.parameters())
    for name, tensor in _official("ema_params1").items():
        assert torch.equal(loaded.net.state_dict()[name], tensor)
    assert sorted(path.name for path in out.iterdir()) == ["weights.json", "weights.safetensors"]


def test_the_raw_weights_and_a_folder_of_the_hub(tmp_path: Path, config: Path) -> None:
    hub = tmp_path / "ELF-B-owt-torch"
    hub.mkdir()
    (hub / "README.md").write_text("a card")
    (hub / "checkpoint_7").write_bytes(CHECKPOINT.read_bytes())
    assert _import(hub, config, tmp_path / "raw", "--weights", "params") == 0
    loaded = load_model(tmp_path / "raw" / "weights.safetensors")
    assert torch.equal(loaded.net.proj_kernel, _official("params")["proj_kernel"])
    assert not torch.equal(loaded.net.proj_kernel, _official("ema_params1")["proj_kernel"])


def test_import_export_import_is_exact(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _import(CHECKPOINT, config, tmp_path / "one") == 0
    exported = tmp_path / "authors" / "checkpoint_7"
    weights = tmp_path / "one" / "weights.safetensors"
    capsys.readouterr()
    assert _verb("--export", weights, "--out", exported, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["files"] == {"checkpoint": str(exported), "config": f"{exported}.yml"}
    assert document["step"] == 7
    content = torch.load(exported, weights_only=True)
    assert set(content) == set(torch.load(CHECKPOINT, weights_only=True))
    official = _official("ema_params1")
    assert content["ema_params1"].keys() == official.keys()
    for name, tensor in official.items():
        assert torch.equal(content["ema_params1"][name], tensor)
        assert torch.equal(content["params"][name], tensor)
    assert _import(exported, exported.with_name("checkpoint_7.yml"), tmp_path / "two") == 0
    one, two = (load_model(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    assert one.config == two.config
    for name, tensor in one.net.state_dict().items():
        assert torch.equal(two.net.state_dict()[name], tensor)


def test_packaged_weights_go_there_and_back_with_their_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packaged = ROOT / "elf_model" / "weights" / "elf-oracle.safetensors"
    assert _verb("--export", packaged, "--out", tmp_path / "checkpoint_1") == 0
    told = capsys.readouterr().err
    assert "GELU 'erf'" in told
    assert "latents_table" in told
    assert _import(tmp_path / "checkpoint_1", tmp_path / "checkpoint_1.yml", tmp_path / "back") == 0
    one, two = load_model(packaged), load_model(tmp_path / "back" / "weights.safetensors")
    assert one.config == two.config
    assert one.table is not None
    assert two.table is not None
    assert torch.equal(one.table, two.table)
    for name, tensor in one.net.state_dict().items():
        assert torch.equal(two.net.state_dict()[name], tensor)


@pytest.mark.parametrize(
    ("change", "hints"),
    [
        ({"latent_sdt": 0.2}, ("unknown configuration key 'latent_sdt'", "did you mean 'latent_std'", "allowed:")),
        ({"vocab_size": 32_100}, ("found:   vocabulary 50", "allowed: vocabulary 32100")),
        ({"hidden_size": 64, "num_heads": 4}, ("found:   width 32", "allowed: width 64")),
        ({"depth": 12}, ("found:   depth 4", "allowed: depth 12")),
        ({"model": "ELF-X"}, ("key:     model", "allowed: ELF-B, ELF-M, ELF-L")),
        ({"latent_std": -1.0}, ("key:     latent_std", "found:   -1.0")),
    ],
)
def test_a_wrong_configuration_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], hints: tuple[str, ...]
) -> None:
    config = _yaml(tmp_path / "wrong.yml", {**CONFIG, **change})
    assert _import(CHECKPOINT, config, tmp_path / "out") == 2
    told = capsys.readouterr().err
    for hint in hints:
        assert hint in told
    assert not (tmp_path / "out").exists()


def test_wrong_checkpoints_leave_what_was_there(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, mark = tmp_path / "out", tmp_path / "it-ran"
    assert _import(CHECKPOINT, config, out) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    document = torch.load(CHECKPOINT, weights_only=True)
    renamed = {f"_orig_mod.{name}": tensor for name, tensor in document["ema_params1"].items()}
    renamed["_orig_mod.proj_bais"] = renamed.pop("_orig_mod.proj_bias")
    torch.save({**document, "params": Hostile(mark)}, tmp_path / "hostile")
    torch.save({**document, "ema_params1": renamed}, tmp_path / "renamed")
    torch.save({"params": document["params"]}, tmp_path / "raw")
    (tmp_path / "text").write_text("no checkpoint")
    (tmp_path / "empty").mkdir()
    for name, hint in (
        ("hostile", "asks to run code, which was not done"),
        ("renamed", "1 missing: proj_bias; 1 unexpected: proj_bais"),
        ("raw", "--weights params"),
        ("text", "text is not a readable checkpoint"),
        ("absent", "cannot read the file"),
        ("empty", "a folder with one checkpoint_<step> file"),
    ):
        capsys.readouterr()
        assert _import(tmp_path / name, config, out) == 2, name
        assert hint in capsys.readouterr().err
    assert not mark.exists()
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_wrong_arguments(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    weights = tmp_path / "other.safetensors"
    weights.write_text("not safetensors")
    for arguments, hint in (
        (("--out", out), "FILE or --export"),
        ((CHECKPOINT, "--export", weights, "--out", out), "FILE and --export"),
        ((CHECKPOINT, "--out", out), "--config CONFIG.yml"),
        (("--export", weights, "--config", config, "--out", out), "leave out --config"),
        (("--export", weights, "--out", out), "not a safetensors file"),
        (("--export", tmp_path / "absent.safetensors", "--out", out), "cannot read the file"),
        ((CHECKPOINT, "--config", config, "--out", out, "--weights", "ema_params"), "did you mean 'ema_params1'"),
        ((CHECKPOINT, "--config", tmp_path / "no.yml", "--out", out), "cannot read the file"),
        ((CHECKPOINT, "--config", config, "--out", weights), "cannot write"),
    ):
        capsys.readouterr()
        assert _verb(*arguments) == 2, hint
        assert hint in capsys.readouterr().err
    assert not out.exists()
    assert weights.read_text() == "not safetensors"


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert _verb("--help") == 0
    told = capsys.readouterr().out
    assert "Example" in told
    assert "--json" in told

"""Official layouts, made here with tiny shapes: hub folders, Lightning checkpoints with their pickled extras, SEDD's hub files."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from dlm_baselines.dit import Dit, DitConfig, build_dit
from dlm_baselines.official import read_official
from dlm_baselines.restricted_pickle import Husk, load_restricted
from dlm_baselines.weights_file import load_weights, save_weights

CONFIG = DitConfig(vocab_size=12, hidden=16, depth=2, heads=2, cond_dim=8, max_length=1024)
PUBLISHED = DitConfig(vocab_size=50_258)


def _net(seed: int = 0, config: DitConfig = CONFIG) -> Dit:
    return build_dit(config, seed=seed)


def _official_names(net: Dit, prefix: str = "backbone.") -> dict[str, Tensor]:
    """The network under the authors' names: the rotary buffer stands between sigma_map and the blocks."""
    named: dict[str, Tensor] = {}
    for name, value in net.state_dict().items():
        if name.startswith("blocks.0.norm1"):
            named[f"{prefix}rotary_emb.inv_freq"] = net.inv_freq.clone()  # type: ignore[operator]
        named[prefix + name] = value.clone()
    return named


class _Config(dict):  # type: ignore[type-arg]
    """Stands for omegaconf's DictConfig."""


def _lightning(path: Path, raw: Dit, average: Dit, **changes: Any) -> Path:
    """A checkpoint as Lightning writes it: hyper-parameters of a package that the reader does not have."""
    module = types.ModuleType("omegaconf_of_the_authors")
    module.DictConfig = _Config  # type: ignore[attr-defined]
    _Config.__module__, _Config.__qualname__, _Config.__name__ = module.__name__, "DictConfig", "DictConfig"
    sys.modules[module.__name__] = module
    document = {
        "state_dict": _official_names(raw),
        "ema": {"decay": 0.9999, "num_updates": 7, "shadow_params": [p.detach() for p in average.parameters()]},
        "hyper_parameters": {"config": _Config(model=_Config(length=64)), "tokenizer": _Config()},
        "global_step": 1000,
        "loops": {"fit_loop": {"state": [1, 2, {"a": (3,)}]}},
        "optimizer_states": [],
    }
    try:
        torch.save({**document, **changes}, path)
    finally:
        del sys.modules[module.__name__]
    return path


def test_a_lightning_average_is_mapped_by_order_and_counted(tmp_path: Path) -> None:
    raw, average = _net(0), _net(1)
    path = _lightning(tmp_path / "mdlm.ckpt", raw, average)
    found = read_official(path)
    assert found.layout == "lightning"
    assert found.step == 1000
    assert found.config == CONFIG  # heads from the rotary frequencies
    assert {name: value.tolist() for name, value in found.weights.items()} == {
        name: value.tolist() for name, value in average.state_dict().items()
    }
    ours = read_official(path, averaging="raw").weights
    assert all(torch.equal(value, ours[name]) for name, value in raw.state_dict().items())


def test_the_published_networks_have_130_and_100_parameters_in_the_list() -> None:
    with torch.device("meta"):
        assert len(list(Dit(PUBLISHED).parameters())) == 130
        assert len(list(Dit(DitConfig(vocab_size=50_258, causal=True)).parameters())) == 100


@pytest.mark.parametrize("count", [-1, 2])
def test_an_average_of_another_length_is_refused(tmp_path: Path, count: int) -> None:
    net = _net()
    shadow = [p.detach() for p in net.parameters()]
    shadow = shadow[:count] if count < 0 else shadow + [torch.zeros(3)] * count
    path = _lightning(tmp_path / "duo.ckpt", net, net, ema={"shadow_params": shadow})
    with pytest.raises(
        ValueError, match=f"shadow_params has {len(shadow)} tensors, the network has {len(list(net.parameters()))}"
    ):
        read_official(path)


def test_an_average_in_another_order_is_refused_by_name(tmp_path: Path) -> None:
    net = _net()
    shadow = [p.detach() for p in net.parameters()]
    shadow[0], shadow[1] = shadow[1], shadow[0]
    path = _lightning(tmp_path / "duo.ckpt", net, net, ema={"shadow_params": shadow})
    with pytest.raises(ValueError, match=r"another order .*vocab_embed\.embedding"):
        read_official(path)


def test_hub_folders_of_both_kinds(tmp_path: Path) -> None:
    """MDLM and Duo: names with a prefix. SEDD: none, and a Hydra configuration that tells the heads and the length."""
    net = _net()
    for folder, prefix, config in (
        ("mdlm", "backbone.", {"n_heads": 2, "model_length": 256}),
        ("sedd", "", {"model": {"n_heads": 2, "length": 256}}),
    ):
        place = tmp_path / folder
        place.mkdir()
        named = {name: value.contiguous() for name, value in _official_names(net, prefix).items()}
        save_file(named, place / "model.safetensors")
        (place / "config.json").write_text(json.dumps(config))
        found = read_official(place)
        assert found.config.max_length == 256
        assert not found.remarks
        assert all(torch.equal(value, found.weights[name]) for name, value in net.state_dict().items())


def test_a_distilled_checkpoint_drops_the_teacher_and_an_ar_checkpoint_is_causal(tmp_path: Path) -> None:
    net = _net()
    named = _official_names(net) | {"teacher.backbone.vocab_embed.embedding": torch.zeros(1)}
    found = read_official(_lightning(tmp_path / "dcd.ckpt", net, net, state_dict=named))
    assert found.dropped == ()  # the average has no teacher
    assert read_official(tmp_path / "dcd.ckpt", averaging="raw").dropped == ("teacher.backbone.vocab_embed.embedding",)
    causal = _net(0, DitConfig(vocab_size=12, hidden=16, depth=2, heads=2, causal=True))
    assert read_official(_lightning(tmp_path / "ar.ckpt", causal, causal)).config.causal


def test_every_key_is_accounted_for(tmp_path: Path) -> None:
    net = _net()
    named = _official_names(net)
    del named["backbone.blocks.1.attn_out.weight"]
    named["backbone.blocks.1.extra"] = torch.zeros(2)
    path = _lightning(tmp_path / "mdlm.ckpt", net, net, state_dict=named)
    with pytest.raises(ValueError, match=r"missing \(blocks\.1\.attn_out\.weight\).*unexpected \(blocks\.1\.extra\)"):
        read_official(path, averaging="raw")


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    net = _net()
    with torch.no_grad():
        net.output_layer.linear.bias[0] = torch.nan
    with pytest.raises(ValueError, match=r"output_layer\.linear\.bias is not a tensor of finite"):
        read_official(_lightning(tmp_path / "mdlm.ckpt", net, net))


class _Dangerous:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.place,))


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    net, trap = _net(), tmp_path / "it-ran"
    path = _lightning(tmp_path / "mdlm.ckpt", net, net, callbacks={"x": _Dangerous(trap)})
    assert isinstance(load_restricted(path)["callbacks"]["x"], Husk)
    assert not trap.exists()
    torch.load(path, weights_only=False, pickle_module=_with_config())  # the trap is a real one
    assert trap.exists()


def _with_config() -> Any:
    import pickle

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            return _Config if module == "omegaconf_of_the_authors" else super().find_class(module, name)

    return types.SimpleNamespace(Unpickler=Unpickler, load=None, __name__="test")


@pytest.mark.parametrize("content", [b"", b"\x80\x02nonsense", b"PK\x03\x04broken"])
def test_files_of_other_kinds_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.ckpt"):
        read_official(path)


def test_imported_weights_are_kept_exactly(tmp_path: Path) -> None:
    net = _net()
    save_weights(tmp_path / "w.safetensors", net, dtype=torch.float32)
    again = load_weights(tmp_path / "w.safetensors").net.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in net.state_dict().items())

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from dlm_baselines.dit import Dit, DitConfig, KeyValueCache, build_dit
from dlm_baselines.weights_file import load_strictly, load_weights, save_weights

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "discrete"


def _randomized(config: DitConfig) -> Dit:
    """A network whose zero-initialized parts are not zero, so that tests see them."""
    net = build_dit(config, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return net.eval()


@pytest.mark.parametrize("name", ["dit_bidirectional", "dit_causal"])
def test_logits_equal_the_authors(name: str) -> None:
    with safe_open(GOLDEN / f"{name}.safetensors", framework="pt") as file:
        doc = json.loads(file.metadata()["golden"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    config = DitConfig(
        vocab_size=doc["vocab_size"],
        hidden=doc["hidden_size"],
        depth=doc["n_blocks"],
        heads=doc["n_heads"],
        cond_dim=doc["cond_dim"],
        causal=doc["causal"],
    )
    net = build_dit(config, seed=0).eval()
    params = {
        key.removeprefix("params.backbone."): value for key, value in tensors.items() if key.startswith("params.")
    }
    assert torch.allclose(params.pop("rotary_emb.inv_freq"), net.inv_freq)
    load_strictly(net, params)
    with torch.no_grad():
        hard = net(tensors["in.ids"], tensors["in.sigma"])
        soft = net(tensors["in.soft_logits"].softmax(-1), tensors["in.sigma"])
    assert torch.allclose(hard, tensors["out.logits"], atol=1e-4, rtol=0)
    assert torch.allclose(soft, tensors["out.logits_from_soft"], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("causal", "n_params", "n_tensors"), [(False, 169_627_218, 130), (True, 162_246_482, 100)])
def test_small_has_the_published_size(causal: bool, n_params: int, n_tensors: int) -> None:
    with torch.device("meta"):
        parameters = list(Dit(DitConfig(vocab_size=50_258, causal=causal)).parameters())
    assert sum(parameter.numel() for parameter in parameters) == n_params
    assert len(parameters) == n_tensors


def test_a_fresh_network_gives_zero_logits_and_leaves_the_global_state_alone() -> None:
    before = torch.random.get_rng_state()
    net = build_dit(DitConfig(vocab_size=9, hidden=16, depth=2, heads=2), seed=3)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(net(torch.zeros(2, 5, dtype=torch.int64)), torch.zeros(2, 5, 9))


def test_noise_level_matters_only_with_conditioning() -> None:
    config = DitConfig(vocab_size=9, hidden=16, depth=2, heads=2, cond_dim=8)
    net, ids = _randomized(config), torch.arange(6)[None]
    low, high = net(ids, torch.tensor([0.1])), net(ids, torch.tensor([2.0]))
    assert not torch.allclose(low, high)
    assert torch.equal(net(ids), net(ids, torch.zeros(1)))


def test_the_cache_gives_the_logits_of_the_whole_row() -> None:
    net = _randomized(DitConfig(vocab_size=9, hidden=16, depth=3, heads=2, causal=True))
    ids = torch.randint(0, 9, (4, 7), generator=torch.Generator().manual_seed(0))
    cache = KeyValueCache(net.config, 4, 7, torch.device("cpu"))
    with torch.no_grad():
        parts = [
            net.logits(net.features(ids[:, :3], cache=cache)),
            *(net.logits(net.features(ids[:, i : i + 1], cache=cache)) for i in range(3, 7)),
        ]
        assert torch.allclose(torch.cat(parts, dim=1), net(ids), atol=1e-5)


def test_causal_means_no_look_ahead() -> None:
    net = _randomized(DitConfig(vocab_size=9, hidden=16, depth=2, heads=2, causal=True))
    ids = torch.randint(0, 9, (1, 6), generator=torch.Generator().manual_seed(0))
    changed = ids.clone()
    changed[0, 4] = (changed[0, 4] + 1) % 9
    assert torch.equal(net(ids)[:, :4], net(changed)[:, :4])
    assert not torch.allclose(net(ids)[:, 4:], net(changed)[:, 4:])


def test_weights_file_round_trip_and_mismatch(tmp_path: Path) -> None:
    net = _randomized(DitConfig(vocab_size=9, hidden=16, depth=2, heads=2))
    save_weights(tmp_path / "w.safetensors", net, notes={"steps": 3})
    loaded = load_weights(tmp_path / "w.safetensors")
    assert loaded.notes["steps"] == 3
    for name, value in net.state_dict().items():
        assert torch.equal(value.half().float(), loaded.net.state_dict()[name])
    tensors = dict(net.state_dict())
    tensors["blocks.9.norm1.weight"] = tensors.pop("blocks.0.norm1.weight")
    tensors["output_layer.linear.bias"] = torch.zeros(3)
    with pytest.raises(
        ValueError,
        match=r"1 missing \(blocks.0.norm1.weight\); 1 unexpected \(blocks.9.norm1.weight\); 1 of another shape",
    ):
        load_strictly(net, tensors)
    (tmp_path / "torn.safetensors").write_bytes((tmp_path / "w.safetensors").read_bytes()[:100])
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        load_weights(tmp_path / "torn.safetensors")


def test_unknown_config_keys_are_named() -> None:
    with pytest.raises(ValueError, match="did you mean 'hidden'"):
        DitConfig.from_dict({"vocab_size": 9, "hiden": 16})

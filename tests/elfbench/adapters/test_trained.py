from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

import elfbench
from elfbench.core.canonical import file_digest
from elfbench.core.errors import ConfigError
from elfbench.core.seeds import row_seeds
from elfbench.registry import catalog
from elfbench.spec.sampling import LikelihoodModel, LikelihoodRequest, SampleRequest, TraceableModel

DISCRETE = ("mdlm-oracle", "d3pm-oracle", "d3pm-uniform-oracle", "sedd-oracle", "sedd-uniform-oracle", "duo-oracle")
TRAINED = ("elf-sotu", "mdlm-sotu", "duo-sotu", "ar-sotu", "elf-oracle", "elf-oracle-pd", "ar-oracle", *DISCRETE)
STOCHASTIC = (*TRAINED, "unigram", "trigram", "shuffled")


def _request(name: str, n: int, steps: int = 8, length: int = 64) -> SampleRequest:
    card = catalog.models().get(name).card
    length = min(length, card.max_length)
    return SampleRequest(tuple(range(n)), row_seeds(0, 0, n), length, steps if card.has_steps else None)


@pytest.mark.parametrize("name", TRAINED)
def test_the_record_beside_the_weights_is_true(name: str) -> None:
    entry = catalog.models().get(name)
    packaged = entry.packaged  # type: ignore[attr-defined]
    assert file_digest(packaged.path) == packaged.record["sha256"] == entry.card.weights.digest
    assert packaged.path.stat().st_size <= (0.6e6 if "-oracle" in name else 2.5e6)
    assert packaged.record["command"] == f"elfbench train {name} --out DIR"
    net = entry.load().net  # type: ignore[attr-defined]
    assert sum(parameter.numel() for parameter in net.parameters()) == entry.card.n_params


@pytest.mark.parametrize(
    # A large network of the same code is a slow test.
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name.endswith("-sotu") else name for name in STOCHASTIC],
)
def test_ids_are_equal_at_batch_1_8_and_64(name: str) -> None:
    model = catalog.models().get(name).load()
    request = _request(name, 64)
    whole = model.sample(request)
    for size, stop in ((1, 6), (8, 64)):
        parts = [model.sample(request.part(start, start + size)) for start in range(0, stop, size)]
        assert np.array_equal(np.concatenate([part.tokens for part in parts]), whole.tokens[:stop])
        assert np.array_equal(np.concatenate([part.nfe for part in parts]), whole.nfe[:stop])


@pytest.mark.parametrize("name", TRAINED)
def test_samples_keep_the_contract(name: str) -> None:
    model = catalog.models().get(name).load()
    before = torch.random.get_rng_state()
    batch = model.sample(_request(name, 4))
    assert torch.equal(before, torch.random.get_rng_state()), "the global random state is untouched"
    assert batch.tokens.dtype == np.int64
    assert batch.tokens.shape == (4, model.card.max_length)
    assert 0 <= batch.tokens.min() <= batch.tokens.max() < model.tokenizer.vocab_size, "no mask id"  # type: ignore[attr-defined]
    assert batch.raw_texts[0] == model.tokenizer.decode(batch.tokens[0], specials=True)  # type: ignore[attr-defined]
    other = SampleRequest((0,), (12345,), model.card.max_length, 8 if model.card.has_steps else None)
    assert not np.array_equal(model.sample(other).tokens[0], batch.tokens[0])


def test_forward_passes_are_counted() -> None:
    for name, owner in (("elf-sotu", "blocks"), ("mdlm-sotu", "blocks"), ("ar-sotu", "blocks")):
        model = catalog.models().get(name).load()
        calls: list[int] = []
        getattr(model.net, owner)[0].register_forward_hook(
            lambda module, args, out, calls=calls: calls.append(args[0].shape[0])
        )  # type: ignore[attr-defined]
        batch = model.sample(_request(name, 1, steps=5))
        assert batch.nfe.tolist() == [len(calls)], name
    assert batch.positions.tolist() == [64]


@pytest.mark.parametrize("name", ["elf-sotu", "mdlm-sotu"])
def test_a_trace_ends_in_the_sample(name: str) -> None:
    model = catalog.models().get(name).load()
    assert isinstance(model, TraceableModel)
    request = _request(name, 2, steps=12)
    path = model.trace(request, 5)
    assert np.array_equal(path.tokens[-1], model.sample(request).tokens)
    assert path.progress[-1] == 1.0
    assert np.all(np.diff(path.progress) > 0)
    assert len(path.texts) == len(path.progress) == 5
    if name == "mdlm-sotu":
        undecided = (path.tokens < 0).sum(axis=(1, 2))
        assert undecided[0] > undecided[-1] == 0
        assert "\N{MEDIUM SHADE}" in path.texts[0][0]


def test_ar_scores_text_exactly() -> None:
    model = catalog.models().get("ar-sotu").load()
    assert isinstance(model, LikelihoodModel)
    assert model.bound == "exact"
    found = model.nll(LikelihoodRequest(("The Congress of the United States", "zqx vrrk"), (1, 2)))
    per_byte = found.nll_nats / found.n_bytes_scored
    assert per_byte[0] < 0.7 * per_byte[1], "garbled weights would not prefer English"
    with pytest.raises(ConfigError, match=r"1 \.\. 64"):
        model.nll(LikelihoodRequest(("",), (1,)))


def test_weights_of_another_model_are_refused_by_name(tmp_path: Path) -> None:
    ar, mdlm, elf = (catalog.models().get(name) for name in ("ar-sotu", "mdlm-sotu", "elf-sotu"))
    with pytest.raises(ConfigError, match="elf format"):
        elf.load(weights=ar.packaged.path)  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="dlm format"):
        mdlm.load(weights=elf.packaged.path)  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="no such weights file"):
        mdlm.load(weights=tmp_path / "none.safetensors")
    with pytest.raises(ConfigError, match="no weights"):
        catalog.models().get("real-text").load(weights=tmp_path)


def test_toys_of_other_seeds_differ() -> None:
    digests = set()
    for seed in (0, 1):
        toy = catalog.models().get("elf-sotu").toy(seed)
        digests.add(hashlib.sha256(toy.sample(SampleRequest((0, 1), (3, 4), 24, 4)).tokens.tobytes()).hexdigest())
    assert len(digests) == 2


def test_the_grid_of_elf_can_be_named() -> None:
    trained = elfbench.sample("elf-oracle", 2, 4)
    other = elfbench.sample("elf-oracle", 2, 4, options={"grid_times": "0.5,2"})
    assert trained.raw_texts != other.raw_texts
    for wrong in ("1", "a,b", "0,-1", "nan,1"):
        with pytest.raises(ConfigError, match="no mean and standard deviation"):
            elfbench.sample("elf-oracle", 1, 2, options={"grid_times": wrong})


def test_the_samplers_of_elf_can_be_named() -> None:
    """Every method runs, no two of them agree, and the passes are exact; the defaults named are the defaults."""
    plain = elfbench.sample("elf-oracle", 3, 4)
    texts = {"ode": plain.raw_texts}
    for method, nfe in (("heun", 8), ("sde", 5), ("sde_exact", 5), ("sde_paper", 5)):
        batch = elfbench.sample(
            "elf-oracle", 3, 4, options={"method": method, "gamma": 0.0 if method == "heun" else 2.0}
        )
        assert batch.nfe.tolist() == [nfe] * 3
        assert batch.raw_texts not in texts.values()
        texts[method] = batch.raw_texts
    named = {"method": "ode", "decode_temperature": 0.0, "decode_top_p": 1.0}
    assert elfbench.sample("elf-oracle", 3, 4, options=named).raw_texts == plain.raw_texts
    assert catalog.models().get("elf-oracle").card.resolve_options(named) == {}


def test_elf_draws_its_tokens_when_asked() -> None:
    plain = elfbench.sample("elf-oracle", 3, 4)
    warm = elfbench.sample("elf-oracle", 3, 4, options={"decode_temperature": 1.0})
    again = elfbench.sample("elf-oracle", 3, 4, options={"decode_temperature": 1.0})
    narrow = elfbench.sample("elf-oracle", 3, 4, options={"decode_temperature": 1.0, "decode_top_p": 1e-6})
    assert warm.raw_texts == again.raw_texts != plain.raw_texts
    assert narrow.raw_texts == plain.raw_texts, "a nucleus of one token is the argmax"
    for wrong in ({"decode_temperature": -1.0}, {"decode_top_p": 0.0}, {"decode_top_p": 1.1}):
        with pytest.raises(ConfigError, match="out of range"):
            elfbench.sample("elf-oracle", 1, 2, options=wrong)


def test_the_guidance_of_elf_can_be_named() -> None:
    """The kinds of guidance differ, their passes are exact per row, and outside of the interval there is none."""
    plain = elfbench.sample("elf-oracle", 3, 4)
    texts = {plain.raw_texts}
    for options, nfe in (
        ({"self_cond_cfg": 3.0}, 5),
        ({"self_cond_cfg": 3.0, "self_cond_guidance": "two_pass"}, 8),
        ({"self_cond_cfg": 3.0, "guidance_schedule": "linear"}, 5),
        ({"self_cond_cfg": 3.0, "guidance_schedule": "interval", "guidance_interval": "0,0.3"}, 5),
    ):
        batch = elfbench.sample("elf-oracle", 3, 4, options=options)
        assert batch.nfe.tolist() == [nfe] * 3
        assert batch.positions.tolist() == [nfe * plain.positions[0] // 5] * 3
        assert batch.raw_texts not in texts
        texts.add(batch.raw_texts)
    never = {"self_cond_guidance": "two_pass", "guidance_schedule": "interval", "guidance_interval": "0.999,1"}
    late = elfbench.sample("elf-oracle", 3, 4, options={"self_cond_cfg": 3.0, **never})
    assert late.nfe.tolist() == [5] * 3
    assert late.raw_texts == plain.raw_texts
    named = {"self_cond_guidance": "token", "guidance_schedule": "constant", "guidance_interval": "0,1"}
    assert catalog.models().get("elf-oracle").card.resolve_options(named) == {}
    for wrong in ("1", "a,b", "0.5,0.5", "-0.1,1", "0,1.5", "nan,1"):
        with pytest.raises(ConfigError, match="no interval of times"):
            elfbench.sample("elf-oracle", 1, 2, options={"guidance_interval": wrong})


def test_the_grid_of_a_batch_needs_whole_shards() -> None:
    options = {"grid": "logit_normal_batch"}
    own, shared = elfbench.sample("elf-oracle", 4, 4), elfbench.sample("elf-oracle", 4, 4, options=options)
    assert shared.raw_texts[0] == own.raw_texts[0]
    assert shared.raw_texts[1:] != own.raw_texts[1:]
    model = catalog.models().get("elf-oracle").load()
    whole = SampleRequest(tuple(range(64)), row_seeds(0, 0, 64), 8, 2, options=options)
    begun = model.sample(whole.part(0, 8)).tokens
    assert np.array_equal(begun, model.sample(whole).tokens[:8]), "any batch from the first row on"
    across = SampleRequest(tuple(range(64, 130)), row_seeds(0, 64, 130), 8, 2, options=options)
    for wrong in (whole.part(1, 8), whole.part(32, 64), across):
        with pytest.raises(ConfigError, match="whole shard"):
            model.sample(wrong)

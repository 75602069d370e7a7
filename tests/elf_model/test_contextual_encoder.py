"""The encoder from scratch: what it learns, who sees whom, and that it is stored with the model."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from elf_vectors import KeyedNoise

from elf_model.contextual_encoder import (
    ContextualConfig,
    DenoisingRecipe,
    TrainedEncoder,
    build_contextual,
    corrupted,
    train_contextual,
)
from elf_model.encoder import TableEncoder, encoder_mask
from elf_model.model import load_model, save_model
from elf_model.network import ElfNetwork

CONFIG = ContextualConfig(vocab_size=11, dim=6, max_length=10, hidden=16, depth=1, heads=2)
RECIPE = DenoisingRecipe(steps=120, batch_size=16, lr=5e-3)
WINDOWS = (np.arange(300)[:, None] * 7 + np.arange(10)) % 11  # counts modulo 11: neighbors tell a token


@pytest.fixture(scope="module")
def trained() -> TrainedEncoder:
    return train_contextual(WINDOWS, CONFIG, RECIPE)


def test_training_is_below_what_the_token_alone_tells(trained: TrainedEncoder) -> None:
    """Without context the best loss is that of a channel: an unmasked token is right with known odds, a masked one unknown."""
    share = RECIPE.corrupt_share
    stays = 1 - share + share / 2 / 11  # seen as itself
    other = share / 2 / 11  # seen as one given other token
    seen = 1 - share / 2  # not masked
    alone = -stays * math.log(stays / seen) - 10 * other * math.log(other / seen) + share / 2 * math.log(11)
    assert trained.last_loss < alone < trained.first_loss
    assert 1.0 < trained.effective_rank <= 6.0 + 1e-9


def test_training_depends_on_the_seed_alone(trained: TrainedEncoder) -> None:
    state = torch.get_rng_state()
    again = train_contextual(WINDOWS, CONFIG, RECIPE)
    assert torch.equal(state, torch.get_rng_state())
    other = train_contextual(WINDOWS, CONFIG, DenoisingRecipe(steps=3, seed=1))
    for name, value in trained.encoder.state_dict().items():
        assert torch.equal(again.encoder.state_dict()[name], value)
    assert not torch.equal(other.encoder.embedding.weight, trained.encoder.embedding.weight)


def test_latents_are_normalized_channel_by_channel(trained: TrainedEncoder) -> None:
    latents = trained.encoder.encode(torch.from_numpy(WINDOWS)).flatten(0, 1).numpy().astype(np.float64)
    np.testing.assert_allclose(latents.mean(axis=0), 0.0, atol=1e-4)
    np.testing.assert_allclose(latents.std(axis=0), 1.0, atol=1e-4)


def test_latents_are_contextual_frozen_and_tell_their_token(trained: TrainedEncoder) -> None:
    ids = torch.from_numpy(WINDOWS)
    latents = trained.encoder.encode(ids)
    assert not latents.requires_grad
    assert not any(parameter.requires_grad for parameter in trained.encoder.parameters())
    other = ids.clone()
    other[:, 4] = (other[:, 4] + 1) % 11
    assert (trained.encoder.encode(other) - latents)[:, 5].abs().max() > 1e-3
    centers = torch.stack([latents[ids == token].mean(dim=0) for token in range(11)])
    nearest = torch.cdist(latents.flatten(0, 1), centers).argmin(dim=-1)
    assert (nearest == ids.flatten()).float().mean() > 0.95


def test_prefix_latents_do_not_depend_on_the_target(trained: TrainedEncoder) -> None:
    valid, prefix = torch.ones(1, 8, dtype=torch.bool), torch.arange(8)[None] < 3
    ids = torch.arange(8)[None]
    other_target, other_prefix = ids.clone(), ids.clone()
    other_target[0, 5], other_prefix[0, 1] = 10, 10
    mask = encoder_mask(valid, prefix)
    base, target, changed = (trained.encoder.encode(one, mask) for one in (ids, other_target, other_prefix))
    assert torch.equal(target[:, :3], base[:, :3])
    assert (changed[:, 3:] - base[:, 3:]).abs().max() > 1e-4
    dropped = encoder_mask(valid, prefix, label_drop=torch.tensor([True]))
    encode = trained.encoder.encode
    assert torch.equal(encode(other_prefix, dropped)[:, 3:], encode(ids, dropped)[:, 3:])


def test_latents_are_not_rounded_under_autocast(trained: TrainedEncoder) -> None:
    ids = torch.from_numpy(WINDOWS[:4])
    with torch.autocast("cpu", torch.bfloat16):
        rounded = trained.encoder.encode(ids)
    assert torch.equal(rounded, trained.encoder.encode(ids))


def test_corruption_has_the_share_it_says() -> None:
    ids = torch.full((40, 500), 3)
    seen = corrupted(ids, KeyedNoise(list(range(40))), share=0.3, vocab_size=11)
    # of 20,000 tokens: masked 15 %, random 15 % of which 10/11 differ; four standard errors are 1 %
    assert abs((seen == 11).float().mean() - 0.15) < 0.01
    assert abs(((seen != 3) & (seen != 11)).float().mean() - 0.15 * 10 / 11) < 0.01
    assert seen.max() == 11
    assert seen.min() == 0


def test_the_model_file_holds_the_encoder(trained: TrainedEncoder, tiny_net: ElfNetwork, tmp_path: Path) -> None:
    path, ids = tmp_path / "m.safetensors", torch.from_numpy(WINDOWS[:4])
    save_model(path, tiny_net, encoder=trained.encoder)
    loaded = load_model(path)
    assert loaded.encoder is not None
    assert torch.equal(loaded.encoder.encode(ids), trained.encoder.encode(ids))
    assert loaded.table is None
    assert loaded.frozen_encoder() is loaded.encoder
    save_model(path, tiny_net, table=torch.ones(11, 6))
    static = load_model(path).frozen_encoder()
    assert load_model(path).encoder is None
    assert isinstance(static, TableEncoder)
    torch.testing.assert_close(static.encode(ids), torch.full((4, 10, 6), 5.0))  # (1 - 0) / 0.2, the config's scale


def test_bad_numbers_are_named() -> None:
    with pytest.raises(ValueError, match=r"encoder\.depth is 0"):
        ContextualConfig(vocab_size=3, dim=2, max_length=4, depth=0)
    with pytest.raises(ValueError, match=r"encoder\.steps is 0"):
        DenoisingRecipe(steps=0)
    with pytest.raises(ValueError, match=r"corrupt_share 1\.0"):
        DenoisingRecipe(corrupt_share=1.0)
    with pytest.raises(ValueError, match=r"\[0, 11\)"):
        train_contextual(WINDOWS + 1, CONFIG, RECIPE)
    encoder, _ = build_contextual(CONFIG, seed=0)
    with pytest.raises(ValueError, match="11 tokens is longer than max_length 10"):
        encoder.encode(torch.zeros(1, 11, dtype=torch.int64))

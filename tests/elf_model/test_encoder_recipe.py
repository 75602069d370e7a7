"""Every kind of encoder from plain data, and what wrong recipes are told."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_t5 import tiny_t5

from elf_model.config import ElfConfig
from elf_model.contextual_encoder import ContextualEncoder
from elf_model.encoder import T5Encoder, TableEncoder
from elf_model.encoder_recipe import KINDS, BuiltEncoder, build_encoder
from elf_model.latent_statistics import LatentStatistics, write_statistics
from elf_model.latents import ppmi_svd_table, random_table

CONFIG = ElfConfig(
    vocab_size=11, latent_dim=6, hidden=16, depth=1, heads=2, bottleneck_dim=4, max_length=10, latent_std=1.0
)
WINDOWS = np.random.Generator(np.random.Philox(key=3)).integers(11, size=(60, 10))
IDS = torch.from_numpy(WINDOWS[:2])


def _build(config: ElfConfig = CONFIG, **recipe: Any) -> BuiltEncoder:
    return build_encoder(recipe, WINDOWS, config, device="cpu")


def test_tables_are_those_of_their_functions() -> None:
    factored = _build(kind="ppmi_svd", dim=6, reach=2, power=0.5, random_share=0.1, seed=4)
    expected = ppmi_svd_table(WINDOWS, vocab_size=11, dim=6, reach=2, power=0.5, random_share=0.1, seed=4)
    assert isinstance(factored.encoder, TableEncoder)
    assert np.array_equal(factored.encoder.encode(IDS), expected.table[IDS])
    assert factored.notes == {"effective_rank": expected.effective_rank}
    random = _build(kind="random", seed=4)
    assert random.table is not None
    assert np.array_equal(random.table, random_table(WINDOWS, vocab_size=11, dim=6, seed=4).table)
    halved = _build(dataclasses.replace(CONFIG, latent_std=2.0), kind="random", seed=4)
    assert halved.encoder is not None
    assert torch.equal(halved.encoder.encode(IDS) * 2.0, random.table[IDS])


def test_contextual_and_learned() -> None:
    made = _build(kind="contextual", hidden=8, depth=1, heads=2, steps=3, batch_size=4, seed=1)
    assert isinstance(made.contextual, ContextualEncoder)
    assert made.encoder is made.contextual
    assert made.table is None
    assert made.contextual.encode(IDS).shape == (2, 10, 6)
    assert set(made.notes) == {"effective_rank", "encoder_training"}
    learned = _build(kind="learned", seed=7)
    assert (learned.encoder, learned.table, learned.seed) == (None, None, 7)


def test_changing_the_kind_alone_leaves_other_keys_unread() -> None:
    made = _build(kind="random", dim=6, reach=4, power=1.0, seed=4)
    assert made.notes["encoder_keys_not_read"] == ["power", "reach"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("t5")
    tiny_t5().save_pretrained(path)
    return path


def test_t5_of_a_local_folder_with_statistics(folder: Path, tmp_path: Path) -> None:
    plain = _build(dataclasses.replace(CONFIG, latent_mean=0.0, latent_std=0.2), kind="t5", folder=str(folder))
    assert isinstance(plain.encoder, T5Encoder)
    hidden = plain.encoder.encode(IDS) * 0.2
    one = LatentStatistics(over="all", mean=(0.5,), std=(2.0,), tokens=9, dim=6)
    write_statistics(tmp_path / "one.json", one)
    scalar = _build(kind="t5", folder=str(folder), statistics=str(tmp_path / "one.json"))
    assert scalar.encoder is not None
    torch.testing.assert_close(scalar.encoder.encode(IDS), (hidden - 0.5) / 2.0)
    assert (scalar.config.latent_mean, scalar.config.latent_std) == (0.5, 2.0)
    assert scalar.notes["latent_statistics"] == one.to_dict()
    mean, std = tuple(range(6)), tuple(range(1, 7))
    each = LatentStatistics(over="channel", mean=mean, std=std, tokens=9, dim=6)
    write_statistics(tmp_path / "each.json", each)
    channel = _build(kind="t5", folder=str(folder), statistics=str(tmp_path / "each.json"))
    assert channel.encoder is not None
    torch.testing.assert_close(channel.encoder.encode(IDS), (hidden - torch.tensor(mean)) / torch.tensor(std))


def test_wrong_recipes_are_told(folder: Path, tmp_path: Path) -> None:
    wide = LatentStatistics(over="all", mean=(0.0,), std=(1.0,), tokens=9, dim=8)
    write_statistics(tmp_path / "wide.json", wide)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"kind": "contextal"}, "allowed: ppmi_svd, .*did you mean 'contextual'"),
        ({}, r"encoder\.kind is None"),
        ({"kind": "random", "sead": 1}, r"encoder\.sead; kind 'random' allows: dim, seed; did you mean 'seed'"),
        ({"kind": "contextual", "dim": 5}, r"encoder\.dim is 5; model\.latent_dim is 6"),
        ({"kind": "contextual", "depth": 0}, r"encoder\.depth is 0"),
        ({"kind": "t5"}, r"encoder\.folder is missing"),
        ({"kind": "t5", "folder": str(tmp_path / "no")}, r"encoder\.folder is .*no.*config\.json"),
        ({"kind": "t5", "folder": str(folder), "statistics": str(tmp_path / "no.json")}, "there is no file"),
        ({"kind": "t5", "folder": str(folder), "statistics": str(tmp_path / "wide.json")}, "width 8; latent_dim is 6"),
    ]
    for recipe, message in cases:
        with pytest.raises(ValueError, match=message):
            _build(**recipe)
    with pytest.raises(ValueError, match=r"vocabulary of 12; model\.vocab_size is 13"):
        _build(dataclasses.replace(CONFIG, vocab_size=13), kind="t5", folder=str(folder))
    with pytest.raises(ValueError, match="'learned' normalizes by itself"):
        _build(dataclasses.replace(CONFIG, latent_std=0.2), kind="learned")
    assert set(KINDS) == {"ppmi_svd", "random", "contextual", "learned", "t5"}

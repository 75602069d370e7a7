"""Encoders: normalization, and who sees whom."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from tiny_t5 import tiny_t5

from elf_model.encoder import T5Encoder, TableEncoder, encoder_mask


def test_table_encoder_looks_up_and_normalizes() -> None:
    table = torch.arange(8.0).reshape(4, 2)
    encoder = TableEncoder(table, mean=1.0, std=2.0)
    assert encoder.dim == 2
    assert torch.equal(encoder.encode(torch.tensor([[3, 0]])), torch.tensor([[[2.5, 3.0], [-0.5, 0.0]]]))


def _tiny_t5() -> T5Encoder:
    return T5Encoder(tiny_t5(vocab_size=20, d_model=8, d_ff=16, num_layers=2))


def test_prefix_latents_do_not_depend_on_the_target() -> None:
    """To the bit: a masked score is the smallest float, so its softmax weight is exactly 0."""
    encoder = _tiny_t5()
    valid, prefix = torch.ones(1, 6, dtype=torch.bool), torch.arange(6)[None] < 3
    valid[0, 5] = False
    ids = torch.tensor([[4, 5, 6, 7, 8, 0]])
    other_target, other_prefix, other_pad = ids.clone(), ids.clone(), ids.clone()
    other_target[0, 3], other_prefix[0, 0], other_pad[0, 5] = 9, 9, 9
    mask = encoder_mask(valid, prefix)
    base, target, changed, pad = (encoder.encode(i, mask) for i in (ids, other_target, other_prefix, other_pad))
    assert encoder.dim == 8
    assert base.shape == (1, 6, 8)
    assert torch.equal(target[:, :3], base[:, :3])
    assert torch.equal(pad[:, :5], base[:, :5])
    assert (target[:, 4] - base[:, 4]).abs().max() > 1e-3
    assert (changed[:, 3:5] - base[:, 3:5]).abs().amax(dim=-1).min() > 1e-3
    dropped = encoder_mask(valid, prefix, label_drop=torch.tensor([True]))
    assert torch.equal(encoder.encode(other_prefix, dropped)[:, 3:], encoder.encode(ids, dropped)[:, 3:])


def test_prefix_latents_are_those_of_the_prefix_alone() -> None:
    """At test time there is no target: the encoder sees the prefix and nothing else."""
    encoder, ids = _tiny_t5(), torch.tensor([[4, 5, 6, 7, 8, 0]])
    mask = encoder_mask(torch.ones(1, 6, dtype=torch.bool), torch.arange(6)[None] < 3)
    torch.testing.assert_close(encoder.encode(ids, mask)[:, :3], encoder.encode(ids[:, :3]), atol=1e-5, rtol=0)


def test_normalization_per_channel() -> None:
    mean, std = torch.arange(8.0), torch.arange(8.0) + 1.0
    plain, ids = _tiny_t5(), torch.tensor([[4, 5, 6]])
    encoder = T5Encoder(plain.model, mean=mean, std=std).to("cpu")
    hidden = plain.encode(ids) * 0.2  # mean 0, std 0.2 are the defaults
    torch.testing.assert_close(encoder.encode(ids), (hidden - mean) / std)
    table = torch.arange(16.0).reshape(2, 8)
    torch.testing.assert_close(
        TableEncoder(table, mean=mean, std=std).encode(torch.tensor([[1]])), (table[1:] - mean)[None] / std
    )


def test_a_missing_folder_or_package_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(ValueError, match=r"encoder\.folder is .*nowhere.*config\.json"):
        T5Encoder.from_folder(tmp_path / "nowhere")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match="pip install transformers"):
        T5Encoder.from_folder(tmp_path)


def test_no_mask_is_the_full_mask() -> None:
    encoder, ids = _tiny_t5(), torch.tensor([[4, 5, 6]])
    full = torch.ones(1, 3, 3, dtype=torch.bool)
    torch.testing.assert_close(encoder.encode(ids), encoder.encode(ids, full), atol=1e-6, rtol=0)

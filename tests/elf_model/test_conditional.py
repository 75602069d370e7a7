from __future__ import annotations

from typing import Any

import pytest
import torch
from elf_vectors import RecordedNoise, read_vectors
from tiny_t5 import tiny_t5
from torch import Tensor, nn

from elf_model.conditional import (
    Rows,
    clean_prefix,
    lay_out,
    mask_after_eos,
    sample_targets,
    shift_left,
)
from elf_model.config import ElfConfig
from elf_model.encoder import T5Encoder, TableEncoder
from elf_model.network import ElfNetwork, build_network
from elf_model.noise import DRAW_FIRST_STEP, DRAW_GRID, DRAW_START
from elf_model.settings import SamplerSettings
from elf_model.training.noise import RowNoise

VOCABULARY = 40


def _rows(*conditions: list[int], targets: list[list[int]] | None = None, max_length: int = 10) -> Rows:
    return lay_out(conditions, targets, max_length=max_length, max_input_length=4, pad_id=1)


def _net(**fields: Any) -> ElfNetwork:
    sizes = {"vocab_size": VOCABULARY, "latent_dim": 8, "hidden": 16, "depth": 1, "heads": 2, "bottleneck_dim": 8}
    net = build_network(ElfConfig(**sizes, max_length=16, **fields), seed=0)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(1)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.8, generator=generator)
    return net.eval()


def _table() -> TableEncoder:
    return TableEncoder(torch.randn(VOCABULARY, 8, generator=torch.Generator().manual_seed(2)))


def _t5() -> T5Encoder:
    return T5Encoder(tiny_t5(vocab_size=VOCABULARY, d_model=8, d_ff=16, num_layers=2))


def test_a_row_is_condition_target_padding_with_nothing_between() -> None:
    rows = _rows([5, 6], [7, 8, 9], targets=[[11, 12, 13], [14]])
    assert rows.ids.tolist() == [[5, 6, 11, 12, 13, 1, 1, 1, 1, 1], [7, 8, 9, 14, 1, 1, 1, 1, 1, 1]]
    assert rows.valid.sum(dim=1).tolist() == [5, 4]
    assert rows.condition.tolist() == [[True] * 2 + [False] * 8, [True] * 3 + [False] * 7]
    assert rows.condition_lengths.tolist() == [2, 3]


def test_a_long_target_survives_behind_a_short_condition() -> None:
    target = list(range(20, 29))
    assert _rows([5], targets=[target]).ids[0].tolist() == [5, *target]


@pytest.mark.parametrize(
    ("condition", "target", "cut"),
    [
        ([5, 6, 7, 8, 9], [10], [5, 6, 7, 8, 10, 1, 1, 1, 1, 1]),
        ([5, 6, 7], list(range(20, 30)), [5, 6, 7, *range(20, 27)]),
    ],
)
def test_what_does_not_fit_is_refused_unless_cutting_is_asked_for(
    condition: list[int], target: list[int], cut: list[int]
) -> None:
    sizes = {"max_length": 10, "max_input_length": 4, "pad_id": 1}
    with pytest.raises(ValueError, match=rf"row 0 has a condition of {len(condition)} .*truncate=True"):
        lay_out([condition], [target], **sizes)
    assert lay_out([condition], [target], **sizes, truncate=True).ids[0].tolist() == cut


def test_wrong_layouts_are_told() -> None:
    with pytest.raises(ValueError, match="row 1 has no tokens"):
        _rows([5], [])
    with pytest.raises(ValueError, match=r"1 \.\. 9, below max_length"):
        lay_out([[5]], max_length=10, max_input_length=10, pad_id=1)
    with pytest.raises(ValueError, match="2 targets for 1 conditions"):
        _rows([5], targets=[[1], [2]])


def test_condition_latents_do_not_depend_on_the_target_but_on_the_condition() -> None:
    encoder = _t5()
    one, other, empty = (_rows([5, 6, 7], targets=targets) for targets in ([[11, 12]], [[30, 31, 32, 33]], None))
    latents = [clean_prefix(encoder, rows).latents[:, :3] for rows in (one, other, empty)]
    torch.testing.assert_close(latents[0], latents[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(latents[0], latents[2], atol=1e-5, rtol=0)
    alone = encoder.encode(torch.tensor([[5, 6, 7]]))
    torch.testing.assert_close(latents[0], alone, atol=1e-5, rtol=0)
    changed = clean_prefix(encoder, _rows([5, 9, 7])).latents[:, 0]
    assert (changed - latents[0][:, 0]).abs().max() > 1e-3


def test_shifting_and_masking_are_the_authors() -> None:
    assert shift_left(torch.tensor([[3, 4, 5, 6]]), torch.tensor([2]), fill=0).tolist() == [[5, 6, 0, 0]]
    ids = torch.arange(1, 13).reshape(3, 4)
    assert shift_left(ids, torch.tensor([0, 1, 4]), fill=9).tolist() == [[1, 2, 3, 4], [6, 7, 8, 9], [9] * 4]
    assert mask_after_eos(torch.tensor([[5, 7, 1, 9]]), eos_id=1, pad_id=0).tolist() == [[5, 7, 0, 0]]
    assert mask_after_eos(torch.tensor([[1, 7], [5, 7]]), eos_id=1, pad_id=0).tolist() == [[0, 0], [5, 7]]


class _Counted(nn.Module):
    """A network that counts its calls and keeps what came in."""

    def __init__(self, net: ElfNetwork) -> None:
        super().__init__()
        self.net, self.config = net, net.config
        self.seen: list[Tensor] = []

    def forward(self, z: Tensor, *args: Any, **kwargs: Any) -> Any:
        self.seen.append(z.clone())
        return self.net(z, *args, **kwargs)


@pytest.mark.parametrize("method", ["ode", "sde"])
def test_the_condition_stays_bit_for_bit_and_guidance_doubles_the_passes(method: Any) -> None:
    net, encoder = _Counted(_net()), _table()
    rows = _rows([5, 6], [7, 8, 9, 10])
    prefix = clean_prefix(encoder, rows)
    for input_cfg, passes in ((1.0, 5), (2.0, 9)):
        net.seen.clear()
        settings = SamplerSettings(steps=4, method=method, gamma=1.0, input_cfg=input_cfg)
        done = sample_targets(
            net,  # type: ignore[arg-type]
            encoder,
            rows,
            length=6,
            settings=settings,
            noise=RowNoise([1, 2]),
        )
        assert done.ids.shape == (2, 6)
        assert done.nfe.tolist() == [passes, passes]
        assert sum(len(z) for z in net.seen) == 2 * passes
        for z in net.seen:
            assert torch.equal(z[:2][rows.condition], prefix.latents[rows.condition])
            assert len(z) == 2 or not z[2:][rows.condition].any()


def test_targets_are_what_follows_the_condition_and_rows_do_not_depend_on_their_batch() -> None:
    net, encoder = _net(), _table()
    settings = SamplerSettings(steps=3, input_cfg=2.0)

    def targets(*conditions: list[int], seeds: list[int]) -> Tensor:
        noise = RowNoise(seeds)
        return sample_targets(net, encoder, _rows(*conditions), length=6, settings=settings, noise=noise).ids

    both = targets([5, 6], [7, 8, 9, 10], seeds=[1, 2])
    assert torch.equal(both[:1], targets([5, 6], seeds=[1]))
    assert torch.equal(both[1:], targets([7, 8, 9, 10], seeds=[2]))
    assert not torch.equal(targets([5, 6], seeds=[1]), targets([30, 31], seeds=[1]))


def test_ids_of_targets_in_the_rows_are_not_read() -> None:
    net, encoder, settings = _net(), _t5(), SamplerSettings(steps=2)
    found = [
        sample_targets(
            net, encoder, _rows([5, 6], targets=targets), length=6, settings=settings, noise=RowNoise([3])
        ).ids
        for targets in (None, [[30, 31]])
    ]
    assert torch.equal(*found)


def test_a_budget_that_the_condition_does_not_leave_is_refused() -> None:
    net, settings = _net(), SamplerSettings(steps=1)
    with pytest.raises(ValueError, match=r"length is 7; allowed: 1 \.\. 6"):
        sample_targets(net, _table(), _rows([5, 6, 7, 8]), length=7, settings=settings, noise=RowNoise([1]))
    rows = _rows([5, 6])
    without = Rows(rows.ids, rows.valid, torch.zeros_like(rows.condition))
    with pytest.raises(ValueError, match="without a condition"):
        sample_targets(net, _table(), without, length=3, settings=settings, noise=RowNoise([1]))


def test_the_noise_is_that_of_the_whole_row() -> None:
    """One step from t=0 decodes x_pred of z = 2 * noise with the clean condition in front."""
    net, encoder, rows = _net(), _table(), _rows([5, 6])
    done = sample_targets(net, encoder, rows, length=8, settings=SamplerSettings(steps=1), noise=RowNoise([4]))
    prefix = clean_prefix(encoder, rows)
    keep = rows.condition[..., None]
    z = torch.where(keep, prefix.latents, 2.0 * RowNoise([4]).normal(DRAW_START, (10, 8)))
    one = torch.ones(1)
    with torch.no_grad():
        x = net(z, 0 * one, x_prev=torch.where(keep, prefix.latents, 0.0), self_cond_cfg=one).x_pred
        x = torch.where(keep, prefix.latents, x)
        logits = net(x, one, x_prev=torch.zeros_like(x), self_cond_cfg=one, decode_mode=one).logits
    assert torch.equal(done.ids, logits.argmax(-1)[:, 2:])


class _Recorded:
    """An encoder whose latents were written down."""

    def __init__(self, latents: Tensor) -> None:
        self.latents = latents

    @property
    def dim(self) -> int:
        return int(self.latents.shape[-1])

    def encode(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.latents


@pytest.mark.parametrize("name", ["sample_cond_ode", "sample_cond_sde"])
def test_targets_are_those_of_the_authors_code(name: str) -> None:
    """Their ids behind each condition, from their latents, noise and time grid."""
    document, x = (vectors := read_vectors(name)).document, vectors.tensors
    condition = x["in.cond_mask"].bool()
    z_start, grid = x["in.z0"], x["in.grid"].double()
    inner = ((torch.logit(grid[1:-1]) + 1.5) / 0.8).float().expand(len(z_start), -1)
    draws = {DRAW_START: z_start / document["noise_scale"], DRAW_GRID: inner}
    draws |= {DRAW_FIRST_STEP + step: eps for step, eps in enumerate(x.get("in.eps", []))}
    settings = SamplerSettings(
        steps=len(grid) - 1,
        method=document["method"],
        gamma=document["gamma"],
        self_cond_cfg=document["self_cond_cfg"],
        input_cfg=document["cfg"],
    )
    rows = Rows(torch.zeros(condition.shape, dtype=torch.int64), condition, condition)
    length = condition.shape[1] - int(condition.sum(dim=1).max())
    encoder, noise = _Recorded(x["in.cond"]), RecordedNoise(draws)
    done = sample_targets(vectors.network(), encoder, rows, length=length, settings=settings, noise=noise)
    passes = 1 if document["cfg"] == 1.0 else 2
    assert done.nfe.tolist() == [passes * settings.steps + 1] * len(rows.ids)
    for row, ids in enumerate(x["out.ids"]):
        assert done.ids[row].tolist() == ids[~condition[row]][:length].tolist()

"""The distillation loss against closed forms, the authors' target, and sums by hand."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from elf_vectors import KeyedNoise
from torch import Tensor, nn

from elf_model.config import ElfConfig
from elf_model.distillation import (
    DistillationDraws,
    DistillationTerms,
    distillation_loss,
    draw_distillation_noise,
    student_step,
    sub_step_times,
    teacher_target,
)
from elf_model.loss import LossDraws
from elf_model.network import ElfNetwork, ElfOutput
from elf_model.path import noisy_latents

SPANS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("sub_steps", [1, 2, 5, 64])
def test_a_teacher_that_always_says_x_is_copied(span: float, sub_steps: int) -> None:
    x = _normal(6, 3, 2, seed=1)
    t_s, t_t = student_step(torch.sigmoid(_normal(6) - 1.5), span=span)
    inside = 0.94 * torch.rand(6, sub_steps - 1, generator=torch.Generator().manual_seed(2))
    times = sub_step_times(t_s, t_t, inside=inside)
    assert times[:, :-1].max() < 0.95, "no step begins where the velocity has its floor"
    target = teacher_target(lambda *_: x, 2.0 * _normal(6, 3, 2, seed=3), times, x_prev=torch.zeros_like(x), t_eps=0.05)
    torch.testing.assert_close(target, x, atol=2e-5, rtol=0)


MEAN, STD, SCALE = 0.5, 1.0, 2.0


def _exact_gaussian(z: Tensor, t: Tensor, _: Tensor | None) -> Tensor:
    """E[x | z] for x ~ N(MEAN, STD^2) and z = t x + (1-t) SCALE e."""
    t = t[:, None, None].double()
    gain = t * STD**2 / (t**2 * STD**2 + (1 - t) ** 2 * SCALE**2)
    return (MEAN + gain * (z.double() - t * MEAN)).float()


def _target_at_once(z: Tensor, sub_steps: int, t_eps: float) -> Tensor:
    inside = torch.arange(1, sub_steps).double().div(sub_steps).expand(len(z), -1)
    times = sub_step_times(torch.zeros(len(z)), torch.ones(len(z)), inside=inside)
    return teacher_target(_exact_gaussian, z, times, x_prev=torch.zeros_like(z), t_eps=t_eps)


def test_the_target_of_one_step_is_the_end_of_the_exact_flow() -> None:
    """For Gaussian data the flow from t=0 to t=1 is z_1 = mean + (c / s) z_0; Euler's error halves with its steps."""
    z = SCALE * _normal(4, 5, 3)
    exact = MEAN + STD / SCALE * z
    errors = [float((_target_at_once(z, m, 1e-6) - exact).abs().max()) for m in (32, 64, 128, 256)]
    assert errors[-1] < 0.02
    assert all(1.7 < errors[i] / errors[i + 1] < 2.3 for i in range(3))


@pytest.mark.parametrize(
    ("sub_steps", "variance"), [(2, 0.16), (4, 0.463871), (8, 0.688185), (16, 0.830588), (64, 0.924486)]
)
def test_the_variance_of_the_target_is_that_of_equal_euler_steps(sub_steps: int, variance: float) -> None:
    """Known recursion u <- u (1 + h (g - 1) / max(1-t, .05)), so u_N = k u_0 with 4 k^2 = variance."""
    z = SCALE * _normal(3, 2, 2)
    target = _target_at_once(z, sub_steps, 0.05)
    slope = (target[0] - target[1]) / (z[0] - z[1])
    torch.testing.assert_close(slope, torch.full_like(slope, variance**0.5 / SCALE), atol=2e-5, rtol=0)


def test_the_target_is_the_authors() -> None:
    """Values of their `teacher_pd_target` for this teacher: a plain row, one that passes the floor, no span, late times."""
    z = torch.tensor([[[1.5, -2.0]], [[0.3, 0.8]], [[-1.2, 2.5]], [[0.5, -0.7]]])
    x_prev = torch.tensor([[[0.4, -0.1]], [[0.0, 0.0]], [[1.0, -1.0]], [[0.2, 0.3]]])
    times = torch.tensor(
        [[0.1, 0.15, 0.3, 0.35], [0.6, 0.7, 0.75, 1.0], [0.3, 0.3001, 0.3003, 0.3005], [0.9, 0.92, 0.97, 0.98]]
    )
    expected = torch.tensor(
        [[[0.7817847, -0.7658341]], [[0.7313057, 0.8174021]], [[-0.4682757, 0.9403104]], [[0.8028691, 0.4588415]]]
    )

    def teacher(z: Tensor, t: Tensor, x_prev: Tensor | None) -> Tensor:
        assert x_prev is not None
        return torch.tanh(0.5 * z + 0.3 * x_prev + 0.7 * t[:, None, None])

    target = teacher_target(teacher, z, times, x_prev=x_prev, t_eps=0.05)
    torch.testing.assert_close(target, expected, atol=1e-6, rtol=0)


class _Recorded:
    """A teacher that answers with the number of the call, and remembers what it was given."""

    def __init__(self) -> None:
        self.calls: list[tuple[Tensor, Tensor, Tensor]] = []

    def __call__(self, z: Tensor, t: Tensor, x_prev: Tensor | None) -> Tensor:
        assert x_prev is not None
        self.calls.append((z, t, x_prev))
        return torch.full_like(z, float(len(self.calls)))


def test_one_sub_step_is_the_teachers_prediction_and_later_ones_see_the_last() -> None:
    z, x_prev = _normal(2, 3, 1), _normal(2, 3, 1, seed=1)
    once = _Recorded()
    target = teacher_target(once, z, torch.tensor([[0.2, 0.7]] * 2), x_prev=x_prev, t_eps=0.05)
    assert torch.equal(target, torch.ones_like(z))
    assert len(once.calls) == 1
    three = _Recorded()
    teacher_target(three, z, torch.tensor([[0.2, 0.3, 0.6, 0.7]] * 2), x_prev=x_prev, t_eps=0.05)
    seen = [call[2] for call in three.calls]
    assert torch.equal(seen[0], x_prev)
    assert [float(x.mean()) for x in seen[1:]] == [1.0, 2.0]
    assert [round(float(call[1][0]), 6) for call in three.calls] == [0.2, 0.3, 0.6]


def test_without_a_span_the_target_is_the_last_prediction() -> None:
    z = _normal(2, 3, 1)
    times = torch.tensor([[0.4, 0.4002, 0.4009], [0.4, 0.5, 0.6]])
    target = teacher_target(_Recorded(), z, times, x_prev=torch.zeros_like(z), t_eps=0.05)
    assert torch.equal(target[0], torch.full((3, 1), 2.0))
    assert not torch.allclose(target[1], torch.full((3, 1), 2.0))


def test_half_precision_latents_are_summed_in_single() -> None:
    """64 steps of a constant velocity: bfloat16 sums would be off in the third digit."""
    z, x = _normal(2, 3, 2).bfloat16(), _normal(2, 3, 2, seed=1).bfloat16()
    times = torch.linspace(0.0, 0.9, 65).expand(2, -1)
    target = teacher_target(lambda *_: x, z, times, x_prev=torch.zeros_like(z), t_eps=0.05)
    assert target.dtype == torch.float32
    torch.testing.assert_close(target, x.float(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("span", SPANS)
def test_steps_and_sub_steps_stay_inside(span: float) -> None:
    t_s, t_t = student_step(torch.tensor([0.0, 0.3, 1.0]), span=span)
    torch.testing.assert_close(t_t - t_s, torch.full((3,), span))
    torch.testing.assert_close(t_s, torch.tensor([0.0, 0.3, 1.0]) * (1 - span), atol=2e-6, rtol=0)
    inside = torch.tensor([[0.9, 0.1, 0.5]]).expand(3, -1)
    times = sub_step_times(t_s, t_t, inside=inside)
    torch.testing.assert_close(times, t_s[:, None] + span * torch.tensor([[0.0, 0.1, 0.5, 0.9, 1.0]]))
    assert torch.equal(times[:, 0], t_s)
    assert torch.equal(times[:, -1], t_t)


class _Scripted(nn.Module):
    """Predicts `scale` times z plus its self-conditioning input, and equal logits but for a bias; remembers its calls."""

    def __init__(self, scale: float, vocab_size: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.bias = nn.Parameter(torch.linspace(0.0, 1.0, vocab_size))
        self.calls: list[dict[str, Tensor | None]] = []

    def forward(
        self, z: Tensor, t: Tensor, *, x_prev: Tensor | None, self_cond_cfg: Tensor, **rest: Tensor
    ) -> ElfOutput:
        self.calls.append({"z": z, "t": t, "x_prev": x_prev, "w": self_cond_cfg})
        x_pred = self.scale * z + (0.0 if x_prev is None else x_prev)
        rows = rest.get("logit_rows")
        return ElfOutput(x_pred, None if rows is None else self.bias.expand(len(rows), z.shape[1], -1))


def _setting(config: ElfConfig, rows: int, sub_steps: int) -> tuple[Tensor, Tensor, DistillationDraws]:
    ids = torch.arange(rows * 10).reshape(rows, 10) % config.vocab_size
    noise = KeyedNoise(list(range(rows)))
    return (
        _normal(rows, 10, config.latent_dim, seed=4),
        ids,
        draw_distillation_noise(noise, (10, config.latent_dim), config, sub_steps=sub_steps),
    )


def _with_base(draws: DistillationDraws, **changes: Tensor) -> DistillationDraws:
    base: LossDraws = replace(draws.base, **changes)
    return replace(draws, base=base)


def _loss(
    student: nn.Module,
    teacher: nn.Module,
    config: ElfConfig,
    draws: DistillationDraws,
    *,
    mask: Tensor | None = None,
    span: float = 0.25,
) -> DistillationTerms:
    x_data, ids, _ = _setting(config, len(draws.base.decode_mode), 1)
    mask = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask
    return distillation_loss(student, teacher, x_data, ids, mask, draws=draws, config=config, span=span)


@pytest.mark.parametrize("self_conditioned", [True, False])
def test_a_student_that_is_its_teacher_has_no_error_at_one_sub_step(
    tiny_net: ElfNetwork, self_conditioned: bool
) -> None:
    config = tiny_net.config
    _, _, draws = _setting(config, 4, 1)
    never, coin = torch.zeros(4, dtype=torch.bool), torch.full((4,), 0.0 if self_conditioned else 1.0)
    draws = _with_base(draws, decode_mode=never, self_cond_uniform=coin.double())
    terms = _loss(tiny_net, deepcopy(tiny_net), config, draws)
    assert terms.total.item() < 1e-12
    assert terms.cross_entropy is None
    two = replace(draws, sub_step_normal=_normal(4, 1))
    assert _loss(tiny_net, deepcopy(tiny_net), config, two).total.item() > 1e-6, "two sub-steps are another target"


def test_rows_weigh_the_same_whatever_their_length(tiny_config: ElfConfig) -> None:
    """Two distillation rows with 10 and 1 counted tokens and a decoding row with 4, by hand."""
    _, ids, draws = _setting(tiny_config, 3, 1)
    draws = _with_base(
        draws, decode_mode=torch.tensor([False, False, True]), self_cond_uniform=torch.ones(3, dtype=torch.float64)
    )
    mask = torch.arange(10)[None] < torch.tensor([[10], [1], [4]])
    student, teacher = _Scripted(0.7, 11), _Scripted(0.2, 11)
    terms = _loss(student, teacher, tiny_config, draws, mask=mask)
    x_data, _, _ = _setting(tiny_config, 3, 1)
    z = noisy_latents(x_data, draws.base.noise, 0.75 * torch.sigmoid(-1.5 + 0.8 * draws.base.t_normal), noise_scale=2.0)
    error = (0.5 * z).square().mean(dim=-1)
    nll = -torch.log_softmax(torch.linspace(0.0, 1.0, 11), dim=0)[ids[2]]
    by_row = [error[0].sum() / 10, error[1, 0], nll[:4].sum() / 4]
    torch.testing.assert_close(terms.total, sum(by_row) / 3)
    torch.testing.assert_close(terms.mse, (by_row[0] + by_row[1]) / 2)
    torch.testing.assert_close(terms.cross_entropy, by_row[2])


def test_student_and_teacher_see_the_same_and_decoding_rows_nothing(tiny_config: ElfConfig) -> None:
    """The self-conditioning input is the teacher's, made without one, on rows whose coin says so; zeros elsewhere."""
    _, _, draws = _setting(tiny_config, 4, 3)
    draws = _with_base(
        draws,
        decode_mode=torch.tensor([False, True, False, True]),
        self_cond_uniform=torch.tensor([0.0, 0.0, 0.9, 0.9], dtype=torch.float64),
    )
    student, teacher = _Scripted(0.7, 11), _Scripted(0.2, 11)
    _loss(student, teacher, tiny_config, draws)
    (seen,), (first, *sub_steps) = student.calls, teacher.calls
    assert len(sub_steps) == 3
    assert torch.equal(first["x_prev"], torch.zeros(2, 10, 6))
    shared = torch.zeros(4, 10, 6)
    shared[0] = 0.2 * seen["z"][0]
    torch.testing.assert_close(seen["x_prev"], shared)
    torch.testing.assert_close(sub_steps[0]["x_prev"], shared[[0, 2]])
    assert torch.equal(sub_steps[0]["z"], seen["z"][[0, 2]])
    assert torch.equal(seen["t"][[1, 3]], torch.ones(2))
    assert all(torch.equal(call["w"], seen["w"][[0, 2]]) for call in teacher.calls)


def test_gradients_reach_the_student_alone(tiny_net: ElfNetwork) -> None:
    teacher = deepcopy(tiny_net)
    _, _, draws = _setting(tiny_net.config, 4, 3)
    draws = _with_base(draws, decode_mode=torch.tensor([False, True, False, True]))
    _loss(tiny_net, teacher, tiny_net.config, draws).total.backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in tiny_net.parameters())


@pytest.mark.parametrize("decoding", [True, False])
def test_a_batch_of_one_kind_of_row_is_whole(tiny_net: ElfNetwork, decoding: bool) -> None:
    _, _, draws = _setting(tiny_net.config, 3, 2)
    terms = _loss(
        tiny_net, deepcopy(tiny_net), tiny_net.config, _with_base(draws, decode_mode=torch.full((3,), decoding))
    )
    only, none = (terms.cross_entropy, terms.mse) if decoding else (terms.mse, terms.cross_entropy)
    assert none is None
    assert only is not None
    torch.testing.assert_close(terms.total, only)


def test_the_draws_of_a_row_are_its_own(tiny_config: ElfConfig) -> None:
    shape = (10, tiny_config.latent_dim)
    many = draw_distillation_noise(KeyedNoise([3, 8, 5]), shape, tiny_config, sub_steps=4)
    one = draw_distillation_noise(KeyedNoise([8]), shape, tiny_config, sub_steps=4)
    assert many.sub_step_normal.shape == (3, 3)
    assert torch.equal(many.sub_step_normal[1:2], one.sub_step_normal)
    assert torch.equal(many.base.noise[1:2], one.base.noise)

"""One-step updates against algebra and exact variances."""

from __future__ import annotations

import torch

from elf_model.path import (
    heun_step,
    noisy_latents,
    ode_step,
    renoise,
    renoise_exact,
    velocity,
    x_from_eps,
    x_from_v,
)

GENERATOR_SEED = 0


def _draw(*shape: int) -> torch.Tensor:
    return torch.randn(
        *shape, generator=torch.Generator().manual_seed(GENERATOR_SEED + len(shape)), dtype=torch.float64
    )


def test_conversions_round_trip() -> None:
    x, eps = _draw(50, 3, 2), _draw(50, 1, 1).expand(50, 3, 2)
    t = torch.linspace(0.01, 0.94, 50, dtype=torch.float64)
    z = noisy_latents(x, eps, t, noise_scale=2.0)
    v = velocity(x, z, t, t_eps=0.05)
    wide = t[:, None, None]
    torch.testing.assert_close(v, x - 2.0 * eps, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(z + (1 - wide) * v, x, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close((z - wide * x) / ((1 - wide) * 2.0), eps, atol=1e-12, rtol=1e-12)


def test_every_prediction_of_a_point_on_the_path_is_its_data() -> None:
    """With both floors at 0.01 no time here meets one: x, v = x - s eps and eps say the same."""
    x, eps = _draw(50, 3, 2), _draw(50, 1, 1).expand(50, 3, 2)
    t = torch.linspace(0.01, 0.94, 50, dtype=torch.float64)
    z = noisy_latents(x, eps, t, noise_scale=2.0)
    from_v = x_from_v(x - 2.0 * eps, z, t, t_eps=0.01)
    from_eps = x_from_eps(eps, z, t, noise_scale=2.0, t_eps=0.01)
    torch.testing.assert_close(from_v, x, atol=1e-12, rtol=0)
    torch.testing.assert_close(from_eps, x, atol=1e-12, rtol=0)
    torch.testing.assert_close(velocity(from_eps, z, t, t_eps=0.01), x - 2.0 * eps, atol=1e-12, rtol=0)


def test_floors_of_the_predictions() -> None:
    """At t=1 a velocity is worth t_eps; at t the true noise gives x t / t_eps; all is finite at both ends."""
    x, other = _draw(3, 3, 2), _draw(3, 3, 1).expand(3, 3, 2)
    t = torch.tensor([0.0, 0.02, 1.0], dtype=torch.float64)
    z = noisy_latents(x, other, t, noise_scale=2.0)
    from_v, from_eps = (
        x_from_v(other, z, t, t_eps=0.05),
        x_from_eps(other, z, t, noise_scale=2.0, t_eps=0.05),
    )
    torch.testing.assert_close(from_v[2], x[2] + 0.05 * other[2], atol=1e-12, rtol=0)
    kept = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)[:, None, None]
    torch.testing.assert_close(from_eps, kept * x, atol=1e-12, rtol=0)
    torch.testing.assert_close(velocity(from_v, z, t, t_eps=0.05), other, atol=1e-12, rtol=0)


def test_last_step_lands_on_the_prediction() -> None:
    z, x = _draw(2, 3, 4), _draw(2, 3, 4) + 1.0
    torch.testing.assert_close(
        ode_step(z, x, torch.tensor([0.3, 0.9]), torch.ones(2), t_eps=0.05), x, atol=1e-6, rtol=0
    )


def test_heun_is_exact_where_the_velocity_is_linear_in_time() -> None:
    """dz/dt = a + b t has the solution z + a h + b (t'^2 - t^2) / 2; the trapezoid rule is exact for it."""
    z, a, b = _draw(2, 3, 4), _draw(2, 3, 1), _draw(2, 1, 4)
    t, t_next = torch.tensor([0.1, 0.4], dtype=torch.float64), torch.tensor([0.35, 0.9], dtype=torch.float64)
    wide, wide_next = t[:, None, None], t_next[:, None, None]
    exact = z + a * (wide_next - wide) + b * (wide_next**2 - wide**2) / 2
    torch.testing.assert_close(heun_step(z, a + b * wide, a + b * wide_next, t, t_next), exact, atol=1e-12, rtol=0)


def test_no_gamma_is_no_noise() -> None:
    z, t, t_next = _draw(2, 3, 4).float(), torch.tensor([0.1, 0.4]), torch.tensor([0.35, 0.5])
    for back in (renoise, renoise_exact):
        moved = back(z, t, t_next, x_noise=torch.ones_like(z), gamma=0.0, noise_scale=2.0)
        assert torch.equal(moved.z, z)
        assert torch.equal(moved.t, t)


def test_exact_renoising_keeps_the_marginal_variance() -> None:
    """With data variance c^2 the path has S2(t) = t^2 c^2 + (1-t)^2 s^2; read alpha and the noise std off
    linear responses.
    """
    c, s = 1.3, 2.0
    t = torch.tensor([0.05, 0.3, 0.7], dtype=torch.float64)
    t_next = t + 0.2
    one, zero = torch.ones(3, 1, 1, dtype=torch.float64), torch.zeros(3, 1, 1, dtype=torch.float64)
    for gamma in (0.5, 1.5, 5.0, 9.0):
        signal = renoise_exact(one, t, t_next, x_noise=zero, gamma=gamma, noise_scale=s)
        added = renoise_exact(zero, t, t_next, x_noise=one, gamma=gamma, noise_scale=s)
        alpha, std, back = signal.z.flatten(), added.z.flatten(), signal.t

        def variance(at: torch.Tensor) -> torch.Tensor:
            return at**2 * c**2 + (1 - at) ** 2 * s**2

        torch.testing.assert_close(alpha**2 * variance(t) + std**2, variance(back), atol=1e-12, rtol=0)
        torch.testing.assert_close(back, alpha * t)


def test_the_authors_noise_is_smaller_by_the_known_deficit() -> None:
    s, t, t_next = (
        2.0,
        torch.tensor([0.2, 0.5], dtype=torch.float64),
        torch.tensor([0.4, 0.6], dtype=torch.float64),
    )
    zero, one = torch.zeros(2, 1, 1, dtype=torch.float64), torch.ones(2, 1, 1, dtype=torch.float64)
    alpha = renoise(one, t, t_next, x_noise=zero, gamma=1.5, noise_scale=s).z.flatten()
    stds = [
        back(zero, t, t_next, x_noise=one, gamma=1.5, noise_scale=s).z.flatten() for back in (renoise_exact, renoise)
    ]
    deficit = stds[0] ** 2 - stds[1] ** 2
    torch.testing.assert_close(deficit, 2 * s**2 * alpha * (1 - alpha) * (1 - t), atol=1e-12, rtol=0)

"""FLOPs of a task by operator, and the rate that large matrix products reach on the same device: the two halves of FLOP utilization.

A multiplication and an addition are two FLOPs; only matrix products and convolutions count. A count that may have missed one is no
number: the operators are named instead. Not seen at all are kernels that are launched outside PyTorch's dispatcher.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

_OURS = ("aten", "prim", "prims", "profiler", "inductor")
_PRODUCTS = {
    *("mm", "addmm", "bmm", "baddbmm", "addbmm", "mv", "addmv", "dot", "vdot", "matmul", "ger", "outer", "addr", "einsum"),
    *("linear", "bilinear", "trilinear", "attention", "convolution", "conv1d", "conv2d", "conv3d", "cdist", "euclidean"),
    *("rnn", "lstm", "gru", "encoder", "fft", "linalg", "cholesky", "triangular", "solve", "inverse", "matrix", "sparse"),
}  # fmt: skip
"""Words in the names of operators that multiply matrices."""
_SIZES = {"cpu": (256, 512, 1024), "cuda": (4096, 8192), "mps": (2048, 4096)}
_TRIES = 10
_SECONDS = 1.0


class Flops(NamedTuple):
    """`total` is None where operators ran whose work is not known; `unseen` names them."""

    total: int | None
    unseen: tuple[str, ...]


class _Tally:
    """Filled when the block ends."""

    flops = Flops(None, ())


@contextmanager
def counted_flops() -> Iterator[_Tally]:
    """Counts what the block computes. Slows it down: never around a timed run."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False, custom_mapping=_formulas())
    unseen: set[str] = set()

    class Watch(TorchDispatchMode):  # type: ignore[misc]
        """Below the counter, so it sees operators as they run, after composite ones were taken apart."""

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func._overloadpacket not in counter.flop_registry and _may_multiply(func):
                unseen.add(str(func._overloadpacket))
            return func(*args, **(kwargs or {}))

    tally = _Tally()
    with Watch(), counter:
        yield tally
    tally.flops = Flops(None if unseen else counter.get_total_flops(), tuple(sorted(unseen)))


def _may_multiply(func: Any) -> bool:
    """An operator of a foreign library may do anything; one of PyTorch's says in its name that it multiplies matrices."""
    namespace, _, name = func.name().partition("::")
    words = re.split(r"[_.]", name.partition(".")[0])
    return namespace not in _OURS or not _PRODUCTS.isdisjoint(words)


def _formulas() -> dict[Any, Callable[..., int]]:
    """Operators that PyTorch's own counter passes over without a word. Shapes in, FLOPs out."""
    import torch
    from torch.utils.flop_counter import sdpa_flop_count

    def attention(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value))

    def dot(a: Any, b: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return 2 * int(a[0])

    def times_vector(matrix: Any, vector: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return 2 * int(matrix[0]) * int(matrix[1])

    def plus_times_vector(start: Any, matrix: Any, vector: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return times_vector(matrix, vector)

    def linear(x: Any, weight: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        positions = 1
        for size in x[:-1]:
            positions *= int(size)
        return 2 * positions * int(weight[0]) * int(weight[1])

    aten, onednn = torch.ops.aten, getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    known: dict[Any, Callable[..., int]] = {
        aten._scaled_dot_product_flash_attention_for_cpu: attention,
        aten.dot: dot,
        aten.mv: times_vector,
        aten.addmv: plus_times_vector,
    }
    return known if onednn is None else known | {onednn: linear}


def matmul_rate(device: str, dtype: str, clock: Callable[[], float] = time.perf_counter) -> float:
    """FLOPs per second of the fastest of a few sizes of matrix product, of PyTorch's and, on a CPU in float32, oneDNN's."""
    import torch

    best = 0.0
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for size in _SIZES.get(device.partition(":")[0], _SIZES["cpu"]):
            a = torch.randn(size, size, generator=generator).to(device=device, dtype=getattr(torch, dtype))
            for product in _products(device, dtype):
                best = max(best, 2.0 * size**3 / _least_seconds(lambda f=product, x=a: f(x), device, clock))  # type: ignore[misc]
    return best


def _products(device: str, dtype: str) -> list[Callable[[Any], Any]]:
    import torch

    products: list[Callable[[Any], Any]] = [lambda a: a @ a]
    onednn = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
    if onednn is not None and device == "cpu" and dtype == "float32":
        products.append(lambda a: onednn(a, a, None, "none", [], ""))
    return products


def _least_seconds(task: Callable[[], Any], device: str, clock: Callable[[], float]) -> float:
    """After one run that does not count: the least of ten, or of as many as a second has."""
    task()
    least, spent, tries = float("inf"), 0.0, 0
    while tries < _TRIES and spent < _SECONDS:
        synchronize(device)
        start = clock()
        task()
        synchronize(device)
        taken = max(clock() - start, 1e-9)
        least, spent, tries = min(least, taken), spent + taken, tries + 1
    return least


def synchronize(device: str) -> None:
    """Waits until an accelerator has done what it was given; a CPU has."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device.startswith("mps"):
        torch.mps.synchronize()

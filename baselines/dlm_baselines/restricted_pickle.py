"""torch.save files of strangers, read without running their code: tensors and plain data come through, everything else as an inert husk.

Lightning checkpoints pickle their hyper-parameters (OmegaConf, tokenizers) beside the weights, so `weights_only=True` refuses the whole file.
Here a class that is not on the list below is replaced by `Husk`, which stores nothing and does nothing. Only the zip format of torch.save.
"""

from __future__ import annotations

import collections
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

_ZIP = b"PK\x03\x04"
_ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,  # type: ignore[attr-defined]
    ("torch", "Size"): torch.Size,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
}
_STORAGES = ("Float", "Half", "BFloat16", "Double", "Long", "Int", "Bool", "Byte", "Short", "Char")
_DTYPES = ("float32", "float16", "bfloat16", "float64", "int64", "int32", "bool", "uint8")


class Husk:
    """What is left of an object of a class that is not read: it takes any construction and any content, and keeps none."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Husk:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> Husk:
        return self

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        pass

    def extend(self, items: Any) -> None:
        pass

    def add(self, item: Any) -> None:
        pass


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if module == "torch" and name.removesuffix("Storage") in _STORAGES:
            return getattr(torch, name)
        if module == "torch" and name in _DTYPES:
            return getattr(torch, name)
        return Husk


def load_restricted(path: Path) -> dict[str, Any]:
    """The dict in a torch.save file, on the CPU. Raises ValueError for other files."""
    with path.open("rb") as stream:
        if stream.read(len(_ZIP)) != _ZIP:
            raise ValueError(f"{path.name} was not written by torch.save since version 1.6")
    restricted = SimpleNamespace(Unpickler=_Unpickler, load=None, __name__="restricted_pickle")
    try:
        document = torch.load(path, map_location="cpu", weights_only=False, pickle_module=restricted)
    except OSError:
        raise
    except Exception as error:  # bytes of strangers raise anything
        raise ValueError(f"{path.name} is not a readable checkpoint: {str(error).splitlines()[0]}") from error
    if not isinstance(document, dict):
        raise ValueError(f"{path.name} holds a {type(document).__name__}, not a dict")
    return document

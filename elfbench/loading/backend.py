"""torch and transformers, imported when first needed, kept quiet, and the device that instruments run on."""

from __future__ import annotations

import contextlib
import importlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from elfbench.core.errors import ConfigError, PrerequisiteError

REMEDY = "pip install 'elfbench[run]'"


def need(module: str) -> Any:
    """The imported module. Raises PrerequisiteError when its package is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise PrerequisiteError(
            "this instrument needs packages that are not installed",
            found=f"no module named {error.name!r}",
            remedy=REMEDY,
        ) from error


def device() -> str:
    """cuda when there is a card, else cpu."""
    return "cuda" if need("torch").cuda.is_available() else "cpu"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Holds back progress bars, log lines and warnings of transformers while a model is loaded."""
    log = need("transformers.utils.logging")
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        with (
            warnings.catch_warnings(),
            Path(os.devnull).open("w") as nowhere,
            contextlib.redirect_stderr(nowhere),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()


def load(auto_class: str, folder: Path, **options: Any) -> Any:
    """A float32 model in eval mode from local files only, without remote code.

    Raises ConfigError when the files are not such a model, or when weights that the model needs are not among them.
    """
    transformers, torch = need("transformers"), need("torch")
    dtype_key = "dtype" if int(transformers.__version__.split(".")[0]) >= 5 else "torch_dtype"
    try:
        with quiet():
            model, info = getattr(transformers, auto_class).from_pretrained(
                str(folder),
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                **{dtype_key: torch.float32},
                **options,
            )
    except (ValueError, KeyError, OSError, RuntimeError, ImportError) as error:
        raise ConfigError(
            f"transformers cannot load the folder as {auto_class}",
            found=f"{folder}: {str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}",
            allowed="an architecture that transformers knows, without code of its own",
        ) from error
    if missing := sorted(info["missing_keys"]):
        raise ConfigError("the weight files are incomplete", found=f"{folder} lacks {', '.join(missing[:4])}")
    return model.eval()

"""Any metric of Hugging Face `evaluate` that compares texts with one reference each, from a folder on this machine or
from its cache of modules. Nothing is fetched.

`evaluate:WHERE[?argument=value&...][#result]`. The value is what the module computes of all rows at once; its interval
is a delete-a-group jackknife, because a module counts nothing by row that could be kept.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from elfbench.core.canonical import digest, file_digest
from elfbench.core.errors import ConfigError, PrerequisiteError
from elfbench.metrics.estimate import as_estimate
from elfbench.metrics.pairs import COVERS, examples, library_version
from elfbench.spec.metric import Direction, Estimate, EstimateContext, Metric, Rows
from elfbench.statistics.interval import DEGENERATE, Interval
from elfbench.statistics.jackknife import jackknife

GROUPS = 20
"""Most computations of an interval, beside that of the value."""
_TYPES = ("metric", "comparison", "measurement")
_INPUTS = {"predictions", "references"}
Scorer = Callable[[Sequence[str], Sequence[str]], float]
"""Samples and references -> the module's number."""


def open_metric(argument: str) -> Metric:
    """The metric `evaluate:argument`; `evaluate` itself is imported when it scores.

    `direction=lower` among the arguments is ours, as modules don't tell; all others are the module's own. Raises
    PrerequisiteError without the package, or the module; ConfigError for a direction that is none.
    """
    library = library_version("evaluate")
    where, _, result = argument.partition("#")
    where, _, query = where.partition("?")
    script = _script(where)
    arguments: dict[str, Any] = {key: _value(text) for key, text in parse_qsl(query, keep_blank_values=True)}
    direction = _direction(arguments.pop("direction", "higher"))
    name = script.stem + argument[len(where) :]
    return Metric(
        name=f"evaluate:{name}",
        version=1,
        title=f"{name} (evaluate)",
        unit="of the module",
        direction=direction,
        measurement="pairs",
        estimate=partial(hf_evaluate, script=script, arguments=arguments, result=result),
        parameters={
            "library": f"evaluate {library}",
            "module": script.stem,
            "module_digest": module_digest(script),
            "arguments": json.dumps(arguments, sort_keys=True),
            "result": result,
            "groups": GROUPS,
        },
        paired="output",
        length_sensitive=False,
        description=f"The module {script.stem} of Hugging Face evaluate, computed over all samples and their references.",
    )


def hf_evaluate(
    rows: Rows,
    reference: Rows | None,
    context: EstimateContext,
    *,
    script: Path,
    arguments: Mapping[str, Any],
    result: str,
) -> Estimate:
    """What the module computes of the columns `samples` and `references`, lists [n] of texts."""
    scorer = _loaded(script, arguments, result)
    samples, references = list(rows.columns["samples"]), list(rows.columns["references"])
    found = grouped_jackknife(scorer, samples, references, examples(rows), context)
    return as_estimate(found, COVERS)


def grouped_jackknife(
    scorer: Scorer, samples: Sequence[str], references: Sequence[str], example: np.ndarray, context: EstimateContext
) -> Interval:
    """The score of all rows with the delete-a-group jackknife: random groups of examples [n], at most `GROUPS` of nearly
    equal size, each left out once (Shao and Tu 1995, section 5.1). As many groups as examples: the delete-one jackknife.
    """
    n_examples = int(example.max()) + 1
    n_groups = min(GROUPS, n_examples)
    order = np.random.default_rng(context.seed).permutation(n_examples)
    group_of_example = np.empty(n_examples, dtype=np.int64)
    group_of_example[order] = np.arange(n_examples) % n_groups
    group = group_of_example[example]
    value = scorer(samples, references)
    without = []
    for left_out in range(n_groups):
        kept = np.flatnonzero(group != left_out).tolist()
        without.append(scorer([samples[row] for row in kept], [references[row] for row in kept]))
    found = jackknife(value, without, level=context.level, name="evaluate")
    if found.method == DEGENERATE:
        return found
    return Interval(found.value, found.low, found.high, f"delete-a-group jackknife, {n_groups} groups of examples")


def module_digest(script: Path) -> str:
    """sha256 of a module's code: its script, and all other Python files beside it if it has a folder of its own."""
    if script.parent.name != script.stem:
        return file_digest(script)
    files = sorted(script.parent.rglob("*.py"))
    return digest({file.relative_to(script.parent).as_posix(): file_digest(file) for file in files})


def _script(where: str) -> Path:
    """The module's script: a file, FOLDER/FOLDER.py, or the newest of that name in the cache of `evaluate`."""
    path = Path(where).expanduser()
    for found in (path, path / f"{path.resolve().name}.py"):
        if found.suffix == ".py" and found.is_file():
            return found.resolve()
    short, cache = where.rpartition("/")[2], _cache() / "metrics"
    folders = [where.replace("/", "--")] if "/" in where else [f"evaluate-{kind}--{where}" for kind in _TYPES]
    cached = [file for folder in folders for file in cache.glob(f"{folder}/*/{short}.py")]
    if not cached:
        raise PrerequisiteError(
            "no such module of Hugging Face evaluate on this machine, and nothing is fetched",
            key=f"evaluate:{where}",
            found="not there",
            allowed="a folder NAME with NAME.py in it, a .py file, or a name in the cache",
            remedy=f"""with a connection: python -c "import evaluate; evaluate.load('{where}')\"""",
        )
    return max(cached, key=lambda file: file.stat().st_mtime)


def _cache() -> Path:
    """Where `evaluate` keeps the code of modules."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    modules = os.environ.get("HF_MODULES_CACHE") or Path(home) / "modules"
    return Path(modules).expanduser() / "evaluate_modules"


def _loaded(script: Path, arguments: Mapping[str, Any], result: str) -> Scorer:
    # Read when the packages are imported; set for the modules' own imports too.
    for name in ("HF_EVALUATE_OFFLINE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        os.environ[name] = "1"
    import evaluate

    evaluate.config.HF_EVALUATE_OFFLINE = True
    try:
        module = evaluate.load(str(script), keep_in_memory=True)
    except ImportError as error:
        raise PrerequisiteError(
            f"the module {script.stem} can't be imported: {error}", key=f"evaluate:{script.stem}", found=str(error)
        ) from error
    except ConnectionError as error:
        raise PrerequisiteError(
            f"the module {script.stem} wants to fetch something: {error}",
            key=f"evaluate:{script.stem}",
            found=str(error),
        ) from error
    nested = _wants_lists(module, script.stem)

    def score(samples: Sequence[str], references: Sequence[str]) -> float:
        beside = [[reference] for reference in references] if nested else list(references)
        try:
            results = module.compute(predictions=list(samples), references=beside, **arguments)
        except Exception as error:  # code of others
            raise ConfigError(
                f"the module {script.stem} failed: {type(error).__name__}: {error}", key=f"evaluate:{script.stem}"
            ) from error
        return _number(results, result, script.stem)

    return score


def _wants_lists(module: Any, name: str) -> bool:
    """Whether references are lists of texts. Raises ConfigError for a module that compares no texts."""
    alternatives = module.features if isinstance(module.features, list) else [module.features]
    texts = [
        features
        for features in alternatives
        if set(features) == _INPUTS and getattr(features["predictions"], "dtype", None) in ("string", "large_string")
    ]
    if not texts:
        raise ConfigError(
            f"the module {name} does not compare texts",
            key=f"evaluate:{name}",
            found=", ".join(f"{key}: {kind}" for key, kind in alternatives[0].items()),
            allowed="predictions and references, both text",
        )
    return all(getattr(features["references"], "dtype", None) != texts[0]["predictions"].dtype for features in texts)


def _number(results: Any, wanted: str, name: str) -> float:
    """The number `wanted` of a module's results, or its only one."""
    found = results if isinstance(results, Mapping) else {}
    numbers = {
        key: float(one) for key, one in found.items() if isinstance(one, Real | np.number) and not isinstance(one, bool)
    }
    key = wanted or (next(iter(numbers)) if len(numbers) == 1 else "")
    if key not in numbers or not math.isfinite(numbers[key]):
        raise ConfigError(
            f"the module {name} gives no such number: name one as evaluate:{name}#RESULT, of {', '.join(numbers) or 'none'}",
            key=f"evaluate:{name}",
            found=f"{key or 'none named'}: {found.get(key)}" if key else "none named",
            allowed=numbers,
        )
    return numbers[key]


def _direction(found: object) -> Direction:
    if found not in ("higher", "lower"):
        raise ConfigError(
            "a direction that is none", key="evaluate: direction", found=found, allowed=("higher", "lower")
        )
    return found


def _value(text: str) -> Any:
    """Numbers, true, false, null and lists as JSON has them; anything else is text."""
    try:
        return json.loads(text)
    except ValueError:
        return text

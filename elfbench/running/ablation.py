"""`elfbench.ablate`: trains every variant of a recipe for a fixed number of steps, samples and scores them as one suite, and reports.

Interrupted, it continues: a finished training is kept by the digest of its recipe, samples by their cells.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pandas as pd

from elfbench.core.canonical import digest
from elfbench.core.errors import unknown
from elfbench.loading.yaml_files import load_yaml, validated
from elfbench.running.reporter import Quiet, Reporter
from elfbench.running.run import RunSummary, run
from elfbench.running.suites import suite_folder
from elfbench.running.train import recipe_content, train_content
from elfbench.spec.ablation import Ablation, Variant, seeded_label
from elfbench.spec.suite import Suite, SuiteModel


def ablate(ablation: str, out: Path | str, *, device: str = "cpu", reporter: Reporter | None = None) -> RunSummary:
    """Runs an ablation (a name, or a .yaml file) into `out`: trainings below `out/training`, their cost in `out/training.csv`, the
    store in `out/store`.

    Raises ConfigError for an unknown recipe key or option before anything is trained.
    """
    spec = load_ablation(ablation)
    reporter = reporter or Quiet()
    bases = {name: recipe_content(name) for name in {spec.recipe, *(one.recipe for one in spec.variants if one.recipe)}}
    trainings = {
        (variant.label, seed): changed_recipe(
            bases[variant.recipe or spec.recipe], variant, steps=spec.training_steps, seed=seed
        )
        for variant in spec.variants
        for seed in spec.seeds
    }
    models = list(spec.models)
    costs = []
    for variant in spec.variants:
        for seed in spec.seeds:
            content = trainings[variant.label, seed]
            place = Path(out) / "training" / digest(content)[:12]
            weights = place / "weights.safetensors"
            if not weights.is_file():
                reporter.note(f"variant: {variant.label}, seed {seed}")
                train_content(content, place, device=device, reporter=reporter)
            costs.append(_cost(variant.label, seed, place))
            models.append(
                SuiteModel(
                    name=variant.entry or spec.entry,
                    label=seeded_label(variant.label, seed) if len(spec.seeds) > 1 else variant.label,
                    steps=spec.steps,
                    options=variant.options,
                    weights=str(weights),
                )
            )
    pd.DataFrame(costs).to_csv(Path(out) / "training.csv", index=False)
    return run(_suite(spec, models), Path(out) / "store", reporter=reporter)


def _cost(label: str, seed: int, place: Path) -> dict[str, Any]:
    """What a training took, from the record that lies beside its weights; seconds are of the machine it ran on, whatever else it did."""
    record = json.loads((place / "weights.json").read_text(encoding="utf-8"))
    return {
        "variant": label,
        "seed": seed,
        "n_params": record["n_params"],
        "steps": record["steps"],
        "tokens": record["tokens"],
        "seconds": round(record["log"][-1]["seconds"], 1),
        "weights": record["sha256"][:12],
    }


def ablation_paths() -> dict[str, Path]:
    """Name -> file of the built-in ablations."""
    return {path.stem: path for path in sorted((suite_folder() / "ablations").glob("*.yaml"))}


def load_ablation(name_or_path: str) -> Ablation:
    """The ablation. Raises ConfigError naming the wrong key, or the nearest name."""
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        paths = ablation_paths()
        if name_or_path not in paths:
            raise unknown("ablation", name_or_path, paths, key="ablation", remedy="or give the path of a .yaml file")
        path = paths[name_or_path]
    return validated(Ablation, load_yaml(path), source=path.name)


def changed_recipe(base: Mapping[str, Any], variant: Variant, *, steps: int, seed: int) -> dict[str, Any]:
    """`base` with the variant's dotted keys, steps and seed. Raises ConfigError for a key that the recipe does not have."""
    content = deepcopy(dict(base)) | {"steps": steps, "seed": seed}
    for key, value in variant.train.items():
        *path, last = key.split(".")
        place: Any = content
        for part in path:
            if not isinstance(place.get(part), dict):
                raise unknown("part of the recipe", part, place, key=f"variants[{variant.label!r}].train.{key}")
            place = place[part]
        if last not in place:
            raise unknown("key of the recipe", last, place, key=f"variants[{variant.label!r}].train.{key}")
        place[last] = value
    return content


def _suite(spec: Ablation, models: list[SuiteModel]) -> Suite:
    return Suite(
        suite=spec.ablation,
        version=spec.version,
        title=spec.title,
        description=spec.description,
        length=spec.length,
        rows=spec.rows,
        measure=spec.measure,
        models=tuple(models),
        metrics=spec.metrics,
    )

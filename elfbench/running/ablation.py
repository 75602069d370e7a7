"""`elfbench.ablate`: trains every variant of a recipe for a fixed number of steps, samples and scores them as one suite, and reports.

Interrupted, it continues: a finished training is kept by the digest of its recipe, samples by their cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from elfbench.core.canonical import digest
from elfbench.core.errors import unknown
from elfbench.loading.yaml_files import load_yaml, validated
from elfbench.running.reporter import Quiet, Reporter
from elfbench.running.run import RunSummary, run
from elfbench.running.suites import suite_folder
from elfbench.running.train import recipe_content, train_content
from elfbench.spec.ablation import Ablation, Variant
from elfbench.spec.suite import Suite, SuiteModel


def ablate(ablation: str, out: Path | str, *, device: str = "cpu", reporter: Reporter | None = None) -> RunSummary:
    """Runs an ablation (a name, or a .yaml file) into `out`: trainings below `out/training`, the store in `out/store`.

    Raises ConfigError for an unknown recipe key or option before anything is trained.
    """
    spec = load_ablation(ablation)
    reporter = reporter or Quiet()
    base = recipe_content(spec.recipe)
    trainings = {
        (variant.label, seed): changed_recipe(base, variant, steps=spec.training_steps, seed=seed)
        for variant in spec.variants
        for seed in spec.seeds
    }
    models = list(spec.models)
    for variant in spec.variants:
        for seed in spec.seeds:
            content = trainings[variant.label, seed]
            place = Path(out) / "training" / digest(content)[:12]
            weights = place / "weights.safetensors"
            if not weights.is_file():
                reporter.note(f"variant: {variant.label}, seed {seed}")
                train_content(content, place, device=device, reporter=reporter)
            models.append(
                SuiteModel(
                    name=spec.entry,
                    label=variant.label + (f", seed {seed}" if len(spec.seeds) > 1 else ""),
                    steps=spec.steps,
                    options=variant.options,
                    weights=str(weights),
                )
            )
    return run(_suite(spec, models), Path(out) / "store", reporter=reporter)


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

"""The README of the baselines lists every deviation that their code marks, no more and no fewer, and every system."""

from __future__ import annotations

import re
from collections import Counter
from importlib.resources import files
from pathlib import Path

PACKAGE = Path(str(files("dlm_baselines")))
README = (Path(__file__).parents[2] / "baselines" / "README.md").read_text(encoding="utf-8")


def test_the_deviations_of_the_readme_are_those_of_the_code() -> None:
    marked = Counter(
        (path.relative_to(PACKAGE).as_posix(), place)
        for path in PACKAGE.rglob("*.py")
        for place in re.findall(r"DEVIATION\(([^)]+)\)", path.read_text(encoding="utf-8"))
    )
    section = README.partition("## Deviations")[2].partition("\n## ")[0]
    listed = Counter(re.findall(r"^\| `(\S+\.py)` \| ([^|]+?) \|", section, flags=re.MULTILINE))
    assert listed == marked, "add the mark's file and place to baselines/README.md, section Deviations"


def test_every_packaged_recipe_of_published_size_is_named() -> None:
    names = sorted(path.stem for path in (PACKAGE / "recipes").glob("*-owt.yaml"))
    assert names, "there are such recipes"
    assert [name for name in names if f"`{name}`" not in README] == []

"""The README lists every deviation that the code marks, no more and no fewer."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "elf_model"


def test_the_deviations_of_the_readme_are_those_of_the_code() -> None:
    marked = Counter(
        (path.relative_to(PACKAGE).as_posix(), place)
        for path in PACKAGE.rglob("*.py")
        for place in re.findall(r"DEVIATION\(([^)]+)\)", path.read_text(encoding="utf-8"))
    )
    section = (PACKAGE / "README.md").read_text(encoding="utf-8").partition("## Deviations")[2].partition("\n## ")[0]
    listed = Counter(re.findall(r"^\| `(\S+\.py)` \| ([^|]+?) \|", section, flags=re.MULTILINE))
    assert listed == marked, "add the mark's file and place to elf_model/README.md, section Deviations"


def test_pictures_exist() -> None:
    for target in re.findall(r"!\[[^]]*\]\(([^)]+)\)", (PACKAGE / "README.md").read_text(encoding="utf-8")):
        assert (PACKAGE / target).is_file(), target

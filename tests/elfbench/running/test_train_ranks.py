"""`elfbench train` in two processes: the same training as in one, and one set of files."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from elfbench.running.train import recipe_path


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """AR draws no times, so its loss does not depend on how the batch is cut."""
    recipe = yaml.safe_load(recipe_path("ar-oracle").read_text(encoding="utf-8"))
    recipe |= {"steps": 3, "batch_size": 4, "log_every": 1}
    recipe["model"] |= {"hidden": 16, "depth": 1, "heads": 2}
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(recipe))
    losses = []
    for name, launcher in (("one", []), ("two", ["-m", "torch.distributed.run", "--nproc_per_node", "2"])):
        command = [
            sys.executable,
            *launcher,
            "-m",
            "elfbench.cli.main",
            "train",
            str(path),
            "--out",
            str(tmp_path / name),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        with (tmp_path / name / "log.csv").open() as stream:
            losses.append([float(row["loss"]) for row in csv.DictReader(stream)])
        assert (tmp_path / name / "weights.json").is_file()
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)

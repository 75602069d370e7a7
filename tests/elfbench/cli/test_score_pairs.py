from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def test_a_file_with_outputs_is_scored_on_the_command_line(tmp_path: Path) -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    rows = [
        {"generated": "The cat sat on the mat.", "output": "the cat sat on a mat."},
        {"generated": "Dogs run in the park", "output": "dogs ran in the park"},
    ]
    path = tmp_path / "made.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    command = [sys.executable, "-m", "elfbench.cli.main", "score", str(path), "--reference", str(path)]
    done = subprocess.run(
        [*command, "--metric", "bleu", "--protocol", "elf", "--json"], capture_output=True, text=True, check=True
    )
    (result,) = json.loads(done.stdout)["results"]
    texts, references = ([row[name] for row in rows] for name in ("generated", "output"))
    theirs = sacrebleu.BLEU(lowercase=True, effective_order=True)
    assert result["value"] == pytest.approx(theirs.corpus_score(texts, [references]).score, abs=1e-9)
    assert result["signature"] == str(theirs.get_signature())
    refused = subprocess.run([*command[:5], "--metric", "bleu"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert "--reference FILE with one row per sample" in refused.stderr

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elfbench.core.errors import ConfigError, PrerequisiteError
from elfbench.judges.causal import CausalJudge, open_judge
from elfbench.loading.model_folder import ModelFolder
from elfbench.registry import catalog

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "metrics"
JUDGE = GOLDEN / "judge"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    pytest.importorskip("transformers", reason="judges need transformers")
    pytest.importorskip("torch").set_num_threads(1)


@pytest.fixture(scope="module")
def samples() -> list[str]:
    lines = (GOLDEN / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["generated"] for line in lines]


@pytest.fixture(scope="module")
def judge() -> Any:
    return open_judge(str(JUDGE))


@pytest.fixture(scope="module")
def direct() -> Any:
    """(texts, window) -> nats and tokens of each, one text at a time, through the labels of transformers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from elfbench.loading.backend import quiet

    with quiet():
        model = AutoModelForCausalLM.from_pretrained(str(JUDGE), dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(str(JUDGE))

    def compute(texts: list[str], window: int) -> list[tuple[float, int]]:
        found = []
        for text in texts:
            ids = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False).input_ids[:window]]
            with torch.no_grad():
                loss = model(input_ids=torch.tensor([ids]), labels=torch.tensor([ids])).loss
            found.append((float(loss) * (len(ids) - 1), len(ids) - 1))
        return found

    return compute


def test_twenty_texts_equal_a_direct_computation(judge: Any, direct: Any, samples: list[str]) -> None:
    for window in (95, 17):
        rows = judge.score(samples[:20], window=window)
        expected = direct(samples[:20], window)
        np.testing.assert_allclose(rows.nll_nats, [nats for nats, _ in expected], rtol=1e-5)
        assert rows.n_scored.tolist() == [count for _, count in expected]
        ppl = np.exp(rows.nll_nats.sum() / rows.n_scored.sum())
        assert ppl == pytest.approx(np.exp(sum(n for n, _ in expected) / sum(c for _, c in expected)), rel=1e-5)


def test_perplexities_of_the_evaluate_library(judge: Any, samples: list[str]) -> None:
    """Its `perplexity` with a start token, on the same texts cut to the same 96 ids."""
    expected = json.loads((GOLDEN / "expected.json").read_text())["hf_evaluate"]["per_sample_ppl"]
    rows = judge.score(samples, window=95)
    np.testing.assert_allclose(np.exp(rows.nll_nats / rows.n_scored), expected, rtol=1e-4)


@pytest.mark.parametrize("budget", [1, 50, 200, 100_000])
def test_results_do_not_depend_on_batches_or_order(judge: Any, samples: list[str], budget: int) -> None:
    expected = judge.score(samples, window=95)
    other = CausalJudge(ModelFolder(JUDGE), "hf:other", "other", budget=budget)
    backwards = other.score(samples[::-1], window=95)
    np.testing.assert_allclose(backwards.nll_nats[::-1], expected.nll_nats, rtol=1e-5)
    for name in ("n_scored", "n_bytes_scored", "n_tokens"):
        assert getattr(backwards, name)[::-1].tolist() == getattr(expected, name).tolist()


def test_slices_of_the_output_layer_equal_whole_logits(judge: Any, samples: list[str], monkeypatch: Any) -> None:
    expected = judge.score(samples, window=60).nll_nats
    assert judge._scorer._sliced
    monkeypatch.setattr("elfbench.judges.scoring._SLICE_BYTES", {"cpu": 4 * 300 * 7, "cuda": 4 * 300 * 7})
    np.testing.assert_allclose(judge.score(samples, window=60).nll_nats, expected, rtol=1e-6)
    whole = open_judge(str(JUDGE))
    whole._scorer._sliced = False  # type: ignore[attr-defined]
    np.testing.assert_allclose(whole.score(samples, window=60).nll_nats, expected, rtol=1e-5)


def test_a_window_counts_the_bytes_it_covers(judge: Any) -> None:
    text = "small café 😀 mountain river"
    tokens = judge.tokenizer().encode([text])[0]
    rows = judge.score([text] * 3, window=None)
    assert rows.n_bytes_scored.tolist() == [len(text.encode())] * 3
    assert rows.n_scored.tolist() == rows.n_tokens.tolist() == [len(tokens)] * 3
    for window in range(1, len(tokens)):
        cut = judge.score([text], window=window)
        kept = judge.tokenizer().truncate([text], window)[0]
        assert (cut.n_scored[0], cut.n_tokens[0]) == (window, len(tokens))
        assert len(kept.encode()) <= cut.n_bytes_scored[0] <= len(kept.encode()) + 4
    assert (np.diff([judge.score([text], window=n).nll_nats[0] for n in range(1, 6)]) > 0).all()


def test_empty_texts_score_nothing(judge: Any) -> None:
    rows = judge.score(["", "small cat", ""], window=None)
    assert rows.n_scored[1] > 0
    for name in ("nll_nats", "n_scored", "n_bytes_scored", "n_tokens"):
        assert getattr(rows, name)[[0, 2]].tolist() == [0, 0]
    assert [len(column) for column in judge.score([], window=8)] == [0, 0, 0, 0]


def test_progress_adds_up_to_all_rows(judge: Any, samples: list[str]) -> None:
    steps: list[int] = []
    judge.score(["", *samples], window=30, progress=steps.append)
    assert sum(steps) == len(samples) + 1


def test_a_text_beyond_the_context_is_refused(judge: Any) -> None:
    assert judge.context == 96
    text = "small " * 200
    for window in (None, 96):
        with pytest.raises(ConfigError, match="longer than the context") as refused:
            judge.score(["cat", text], window=window)
        assert "window of at most 95" in str(refused.value)
    assert judge.score([text], window=95).n_scored.tolist() == [95]


def test_without_separator_the_first_token_is_only_context(judge: Any, tmp_path: Path) -> None:
    folder = _copy(tmp_path / "bare")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"bos_token_id": None, "eos_token_id": None}))
    (folder / "generation_config.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    rows = open_judge(str(folder)).score(["small cat house", "", "s"], window=None)
    assert rows.n_scored[0] == rows.n_tokens[0] - 1
    assert 0 < rows.n_bytes_scored[0] < len("small cat house")
    assert rows.n_scored[1:].tolist() == rows.n_bytes_scored[1:].tolist() == [0, 0]


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file_is_named(name: str, tmp_path: Path) -> None:
    folder = _copy(tmp_path / "judge")
    (folder / name).unlink()
    with pytest.raises(ConfigError, match=name.replace(".", r"\.")):
        open_judge(str(folder))


def test_missing_folders_shards_and_hub_ids_are_named(tmp_path: Path, monkeypatch: Any) -> None:
    with pytest.raises(ConfigError, match="no such judge folder"):
        open_judge(str(tmp_path / "nowhere"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match="local Hugging Face cache"):
        open_judge("nobody/no-such-model-here")
    folder = _copy(tmp_path / "judge")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "part-1.safetensors"}}')
    with pytest.raises(ConfigError, match=r"part-1\.safetensors"):
        open_judge(str(folder))


def test_weights_that_lack_a_tensor_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = _copy(tmp_path / "judge")
    weights = load_file(folder / "model.safetensors")
    weights.pop(next(name for name in weights if "ln_f.weight" in name))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match="incomplete"):
        open_judge(str(folder)).score(["small"], window=None)


def test_a_model_that_sees_later_tokens_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM

    from elfbench.loading.backend import quiet

    folder = _copy(tmp_path / "bert")
    config = BertConfig(
        vocab_size=300, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    with quiet():
        model = BertForMaskedLM(config)
        for parameter in model.parameters():
            parameter.data.normal_(std=0.5)
        model.save_pretrained(folder)
    with pytest.raises(ConfigError, match="not a causal language model"):
        open_judge(str(folder)).score(["small"], window=None)


def test_an_architecture_with_code_of_its_own_is_refused(tmp_path: Path) -> None:
    folder = _copy(tmp_path / "remote")
    document = {
        "model_type": "own",
        "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"},
        "bos_token_id": 0,
        "n_positions": 96,
    }
    (folder / "config.json").write_text(json.dumps(document))
    (folder / "own.py").write_text("raise SystemExit('remote code was run')")
    with pytest.raises(ConfigError, match="cannot load"):
        open_judge(str(folder)).score(["small"], window=None)


def test_missing_packages_come_with_the_line_to_type(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(PrerequisiteError, match=r"pip install 'elfbench\[run\]'"):
        open_judge(str(JUDGE)).score(["small"], window=None)


def test_identity_is_content_not_place(judge: Any, tmp_path: Path) -> None:
    copy = open_judge(str(_copy(tmp_path / "judge")))
    assert (copy.name, copy.title, copy.digest) == (judge.name, judge.title, judge.digest)
    assert judge.name == "hf:judge"
    (tmp_path / "judge" / "config.json").write_text((JUDGE / "config.json").read_text() + "\n")
    assert open_judge(str(tmp_path / "judge")).digest != judge.digest
    assert catalog.judges().get(f"hf:{JUDGE}").digest == judge.digest


def test_importing_and_naming_judges_imports_no_torch() -> None:
    program = (
        "import sys, elfbench.judges.causal as c, elfbench.judges.smollm2 as s, elfbench.judges.minilm as m\n"
        "import elfbench.judges.assets, elfbench.judges.measuring, elfbench.judges.conversion\n"
        f"c.open_judge({str(JUDGE)!r}).digest, c.open_judge({str(JUDGE)!r}).context, s.SMOLLM2.title, m.MINILM.title\n"
        "bad = {'torch', 'transformers', 'tokenizers', 'gguf'} & set(sys.modules)\n"
        "assert not bad, bad\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def _copy(folder: Path) -> Path:
    shutil.copytree(JUDGE, folder)
    return folder

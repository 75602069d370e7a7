"""Protocols of generative perplexity, from a file of samples to the number: the authors' own numbers, and plain loops over tokens."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import elfbench
from elfbench.core.errors import ConfigError
from elfbench.metrics.gen_ppl_protocols import prepared
from elfbench.registry import catalog
from elfbench.running.instruments import Instruments
from elfbench.running.measuring import measurement_protocol
from elfbench.spec.judging import BY_MEASUREMENT, CLEAN, ELF, PROTOCOLS
from elfbench.spec.measure import Measure
from elfbench.store.store import Store

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "metrics"
JUDGE = str(GOLDEN / "judge")
CONTEXT = 96
END = "<|endoftext|>"
Nats = Callable[[Sequence[int]], list[float]]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    pytest.importorskip("transformers", reason="judges need transformers")
    pytest.importorskip("torch").set_num_threads(1)


@pytest.fixture(scope="module")
def samples() -> list[str]:
    lines = (GOLDEN / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["generated"] for line in lines]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """37 texts: no, one, two and three ends of text at every kind of place, single tokens, one longer than the context."""
    words = ["light", "idea", "slowly", "small", "cat", "mountain", "large", "measure", "a", "flow", "or", "sample"]
    rng = np.random.default_rng(7)

    def some(n: int) -> str:
        return " ".join(rng.choice(words, n))

    shapes = [
        some(9), f"{END}{some(7)}", f"{some(5)}{END}", f"{some(4)}{END}{some(6)}", f"{END}{some(4)}{END}{some(3)}{END}",
        f"{some(3)}{END}{END}{some(5)}", f"{END}{END}{END}{some(2)}", "a b", some(20) + " caf\u00e9 \U0001f600", some(60),
    ]  # fmt: skip
    return [*shapes, *(some(int(n)) + END * int(k) for n, k in rng.integers((2, 0), (25, 3), (27, 2)))]


@pytest.fixture(scope="module")
def tokenize() -> Callable[[str], list[int]]:
    from transformers import AutoTokenizer

    from elfbench.loading.backend import quiet

    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(JUDGE)
    return lambda text: tokenizer(text, add_special_tokens=False).input_ids


@pytest.fixture(scope="module")
def nats() -> Nats:
    """ids -> -ln p of each id after the first, one row at a time, nothing padded."""
    import torch
    from transformers import AutoModelForCausalLM

    from elfbench.loading.backend import quiet

    with quiet():
        model = AutoModelForCausalLM.from_pretrained(JUDGE, dtype=torch.float32).eval()

    def compute(ids: Sequence[int]) -> list[float]:
        with torch.no_grad():
            logs = torch.log_softmax(model(input_ids=torch.tensor([list(ids)])).logits[0].double(), dim=-1)
        return [-float(logs[place - 1, ids[place]]) for place in range(1, len(ids))]

    return compute


def _plain_ends(rows: list[list[int]], nats: Nats, *, both: int, batch: int | None) -> float:
    """MDLM, Duo and ELF as loops: pad to the longest, then ask of every position whether it is text, and whether one end was seen."""
    longest, end = max(map(len, rows)), 0
    if batch is not None:
        rows = rows[: len(rows) // min(batch, len(rows)) * min(batch, len(rows))]
    total, count = 0.0, 0
    for row in rows:
        padded = row + [end] * (longest - len(row))
        values = nats(padded[: len(row) + 1])  # of the padding only the first can be the first end
        seen = int(padded[0] == end)
        for place in range(1, longest):
            seen += padded[place] == end
            is_text, one_seen = padded[place] != end, seen == 1
            times = both if is_text and one_seen else int(is_text or one_seen)
            if times:
                total += times * values[place - 1]
                count += times
    return math.exp(total / count)


def _plain(protocol: str, rows: list[list[int]], nats: Nats) -> float:
    """The definition of `protocol` on rows of ids that are already cut, written out."""
    if protocol == "elf":
        return _plain_ends(rows, nats, both=2, batch=None)
    if protocol == "mdlm_duo":
        return _plain_ends(rows, nats, both=1, batch=8)
    if protocol == "sedd":
        batches = [rows[start : start + 32] for start in range(0, len(rows), 32)]
        means = [
            sum(math.exp(sum(values) / len(values)) for values in map(nats, part)) / 32
            for part in batches
            if len(part) == 32
        ]
        return sum(means) / len(means)
    if protocol == "sdtt":
        return math.exp(sum(sum(values) / len(values) for values in map(nats, rows)) / len(rows))
    assert protocol == "hf_evaluate"
    values = [nats([0, *row]) for row in rows]
    return sum(math.exp(sum(one) / len(one)) for one in values) / len(values)


def _score(texts: list[str], protocol: str, **options: Any) -> dict[str, Any]:
    frame = elfbench.score(texts, metrics=["gen_ppl"], judge=JUDGE, protocol=protocol, **options)
    (row,) = frame.to_dict("records")
    return row


@pytest.mark.parametrize("protocol", list(BY_MEASUREMENT.values()), ids=lambda one: one.name)
def test_each_protocol_is_its_plain_definition(
    protocol: Any, texts: list[str], nats: Nats, tokenize: Callable[[str], list[int]]
) -> None:
    kept = CONTEXT - 1 if protocol.name == "hf_evaluate" else CONTEXT
    assert max(len(tokenize(text)) for text in texts) > CONTEXT
    expected = _plain(protocol.name, [tokenize(text)[:kept] for text in texts], nats)
    found = _score(texts, protocol.name, measure=Measure(tokenizer="judge", window=CONTEXT, short="keep"))
    assert found["value"] == pytest.approx(expected, rel=1e-5)
    assert found["low"] < found["value"] < found["high"]
    assert (found["metric"], found["protocol"]) == ("gen_ppl", protocol.name)
    assert found["detail"]["protocol_digest"] == protocol.digest
    used = {"mdlm_duo": 32, "sedd": 32}.get(protocol.name, len(texts))
    assert (found["n"], found["n_dropped"], found["n_requested"]) == (used, len(texts) - used, len(texts))


def test_the_authors_numbers_through_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    from elfbench.cli.main import main

    expected = json.loads((GOLDEN / "expected.json").read_text())
    wanted = {"elf": expected["elf"]["ppl"], "mdlm_duo": expected["duo"]["ppl"]}
    wanted["hf_evaluate"] = expected["hf_evaluate"]["ppl"]
    for protocol, value in wanted.items():
        arguments = ["score", str(GOLDEN / "samples.jsonl"), "--metric", "gen_ppl", "--protocol", protocol]
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--judge", JUDGE, "--json"])
        assert ended.value.code == 0
        (found,) = json.loads(capsys.readouterr().out)["results"]
        assert (found["metric"], found["protocol"]) == ("gen_ppl", protocol)
        assert found["value"] == pytest.approx(value, rel=1e-5)
        assert found["n"] == (expected["duo"]["n_used"] if protocol == "mdlm_duo" else expected["n"])
        assert found["low"] < found["value"] < found["high"]


def test_the_authors_perplexities_of_single_texts(samples: list[str]) -> None:
    expected = json.loads((GOLDEN / "expected.json").read_text())["elf"]["per_sample_ppl"]
    judge = catalog.judges().get(f"hf:{JUDGE}")
    columns, used = prepared(judge.score_under(ELF, samples, window=None)._asdict(), ELF)
    assert used.all()
    np.testing.assert_allclose(np.exp(columns["nll_nats"] / columns["n_scored"]), expected, rtol=1e-5)


def test_the_authors_entropies(samples: list[str]) -> None:
    expected = json.loads((GOLDEN / "expected.json").read_text())
    wanted = {"elf": expected["elf"]["mean_entropy"], "mdlm_duo": expected["duo"]["mean_entropy_unpadded"]}
    for protocol, value in wanted.items():
        frame = elfbench.score(samples, metrics=["gen_ppl", "unigram_entropy"], judge=JUDGE, protocol=protocol)
        ppl, entropy = frame.to_dict("records")
        assert ppl["detail"]["mean_entropy"] == pytest.approx(value, rel=1e-6)
        assert entropy["value"] == pytest.approx(value, rel=1e-6)
        assert (entropy["metric"], entropy["protocol"], entropy["n"]) == ("unigram_entropy", protocol, 21)


@pytest.mark.parametrize("protocol", ["elf", "mdlm_duo"])
def test_padding_counts_once_where_no_end_was_written(protocol: str, texts: list[str]) -> None:
    """A short text without an end of text is scored one end beside longer ones, and none among its like."""
    alone = _score(["small cat", "large cat"], protocol)["detail"]["tokens_scored"]
    beside = _score(["small cat", "large cat", texts[8]], protocol)["detail"]["tokens_scored"]
    written = _score([f"small cat{END}", f"large cat{END}", texts[8]], protocol)["detail"]["tokens_scored"]
    longest = _score([texts[8]] * 2, protocol)["detail"]["tokens_scored"] // 2
    assert beside - longest == alone + 2 == written - longest


def test_a_measurement_is_the_texts_alone(tmp_path: Path, texts: list[str]) -> None:
    """Neighbors, order and the store's blocks change nothing but which rows are padded."""
    judge = catalog.judges().get(f"hf:{JUDGE}")
    for protocol in BY_MEASUREMENT.values():
        together = judge.score_under(protocol, texts, window=CONTEXT)
        backwards = judge.score_under(protocol, texts[::-1], window=CONTEXT)
        alone = [judge.score_under(protocol, [text], window=CONTEXT) for text in texts[:4]]
        for name in together._fields:
            values = getattr(together, name)
            np.testing.assert_allclose(getattr(backwards, name)[::-1], values, rtol=1e-5)
            np.testing.assert_allclose([getattr(one, name)[0] for one in alone], values[:4], rtol=1e-5)


def test_clean_is_what_its_record_says(samples: list[str]) -> None:
    judge = catalog.judges().get(f"hf:{JUDGE}")
    old, new = judge.score(samples, window=40), judge.score_under(CLEAN, samples, window=40)
    np.testing.assert_allclose(new.nll_nats, old.nll_nats, rtol=1e-12)
    for name in ("n_scored", "n_bytes_scored", "n_tokens"):
        assert getattr(new, name).tolist() == getattr(old, name).tolist()


def test_nothing_is_judged_twice_under_one_protocol(
    tmp_path: Path, samples: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from elfbench.judges.causal import CausalJudge

    seen: list[tuple[str, int]] = []
    original = CausalJudge.score_under

    def counting(self: Any, protocol: Any, texts: Sequence[str], **options: Any) -> Any:
        seen.append((protocol.name, len(texts)))
        return original(self, protocol, texts, **options)

    monkeypatch.setattr(CausalJudge, "score_under", counting)
    first = _score(samples, "elf", out=tmp_path / "S")
    again = _score(samples, "elf", out=tmp_path / "S")
    other = _score(samples, "mdlm_duo", out=tmp_path / "S")
    assert seen == [("elf", 21), ("mdlm_duo", 21)]
    assert first == again
    assert first["fingerprint"] != other["fingerprint"]
    stored = {score.metric: score.protocol for _, score in Store.open(tmp_path / "S").scores()}
    assert stored["gen_ppl_elf"]["measurement"]["definition"]["digest"] == ELF.digest


def test_the_text_that_each_protocol_reads() -> None:
    instruments = Instruments(Measure(tokenizer="judge"), f"hf:{JUDGE}", None)
    views = {name: measurement_protocol(name, instruments)["view"] for name in BY_MEASUREMENT}
    assert views == {
        "judge_elf": "final", "judge_mdlm_duo": "raw", "judge_sedd": "raw", "judge_sdtt": "raw", "judge_hf_evaluate": "final"
    }  # fmt: skip


def test_empty_texts(samples: list[str]) -> None:
    some = samples[:8]
    elf, with_blank = _score(some, "elf"), _score([*some, "", "  \n"], "elf")
    assert with_blank["value"] == elf["value"]
    assert (with_blank["n"], with_blank["n_dropped"]) == (8, 2)
    # Duo keeps an empty text: it has a place in a batch and no tokens.
    duo, shifted = _score(some, "mdlm_duo"), _score(["", *some[:7], some[7]], "mdlm_duo")
    assert (duo["n"], shifted["n"], shifted["n_dropped"]) == (8, 8, 1)
    assert shifted["detail"]["tokens_scored"] < duo["detail"]["tokens_scored"]
    for protocol in ("hf_evaluate", "sedd", "sdtt"):
        with pytest.raises(ConfigError, match="1 of 3, the first is text 1"):
            _score([some[0], "", some[0]], protocol)


@pytest.mark.parametrize("protocol", ["sedd", "sdtt", "clean"])
def test_a_long_text_without_declared_truncation_is_refused(protocol: str, samples: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"longer than the context(.|\n)*window") as refused:
        _score(["small cat", samples[2]], protocol)
    assert refused.value.exit_code == 2


def test_a_window_beyond_the_context_is_refused() -> None:
    for window in (1, CONTEXT + 1):
        with pytest.raises(ConfigError, match="2 to 96"):
            _score(["small cat"] * 2, "elf", measure=Measure(tokenizer="judge", window=window, short="keep"))


def test_an_unknown_protocol_gets_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'mdlm_duo'"):
        _score(["small cat"] * 2, "mdlm-duo")


def test_a_judge_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "judge"
    shutil.copytree(JUDGE, folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"pad_token": "!"}))
    judge = catalog.judges().get(f"hf:{folder}")
    for name in ("elf", "mdlm_duo"):
        with pytest.raises(ConfigError, match="another padding token"):
            judge.score_under(PROTOCOLS[name], ["small cat"], window=None)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "TokenizersBackend"}))
    for file in ("config.json", "generation_config.json"):
        document = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(document | {"bos_token_id": None, "eos_token_id": None}))
    judge = catalog.judges().get(f"hf:{folder.rename(tmp_path / 'bare')}")
    for name, token in (("elf", "end-of-text"), ("hf_evaluate", "beginning-of-text")):
        with pytest.raises(ConfigError, match=token):
            judge.score_under(PROTOCOLS[name], ["small cat"], window=None)
    assert judge.score_under(PROTOCOLS["sdtt"], ["small cat"], window=None).n_scored[0] > 0

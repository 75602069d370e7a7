from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from elfbench.core.errors import ConfigError
from elfbench.registry import catalog
from elfbench.spec.judging import BY_MEASUREMENT, ELF, PROTOCOLS, judging_protocol

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "gen-ppl-protocols.md").read_text(encoding="utf-8")
SUITE = "gen-ppl-protocols"


def test_digests_tell_definitions_apart_and_prose_does_not() -> None:
    assert len({one.digest for one in PROTOCOLS.values()}) == len(PROTOCOLS) == 6
    for field, other in (("scored", "first_end_or"), ("batch_size", 16), ("empty", "kept"), ("entropy_guard", None)):
        assert ELF.model_copy(update={field: other}).digest != ELF.digest
    assert ELF.model_copy(update={"used_by": "others", "source": "elsewhere"}).digest == ELF.digest
    with pytest.raises(ValidationError):
        ELF.batch_size = 4  # type: ignore[misc]


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'sedd'"):
        judging_protocol("seddd")
    assert judging_protocol("elf") is ELF


def test_each_protocol_is_a_metric_of_its_own() -> None:
    gen_ppl = catalog.metrics().get("gen_ppl")
    assert gen_ppl.protocols == {one.name: f"gen_ppl_{one.name}" for one in BY_MEASUREMENT.values()}
    for name, entry in gen_ppl.protocols.items():
        metric = catalog.metrics().get(entry)
        assert (metric.of, metric.protocol, metric.measurement) == ("gen_ppl", name, f"judge_{name}")
        assert metric.parameters["protocol_digest"] == PROTOCOLS[name].digest


def test_the_page_defines_what_the_records_say() -> None:
    """A changed definition has another digest, and the page has to say so."""
    for protocol in PROTOCOLS.values():
        assert f"`{protocol.digest[:12]}`" in PAGE, protocol.name


def test_the_page_shows_the_committed_report() -> None:
    begin, end = f"<!-- begin reports/{SUITE}/table.md -->\n", f"<!-- end reports/{SUITE}/table.md -->"
    shown = PAGE.partition(begin)[2].partition(end)[0]
    assert shown == (ROOT / "reports" / SUITE / "table.md").read_text(encoding="utf-8")
    assert all(f"gen-PPL ({protocol.name})" in shown.replace("\\", "") for protocol in BY_MEASUREMENT.values())

"""A decision as others read it: markdown for a pull request, JUnit XML for a CI server, plain documents for programs."""

from __future__ import annotations

import dataclasses
from typing import Any
from xml.etree import ElementTree

from elfbench.gates.check import Decision
from elfbench.gates.decide import Verdict

COLUMNS = ("", "cell", "metric", "baseline", "now", "loss", "surely between", "rows", "compared")


def as_document(decision: Decision) -> dict[str, Any]:
    """JSON types only."""
    return dataclasses.asdict(decision) | {"sentence": decision.sentence}


def as_markdown(decision: Decision) -> str:
    """A summary that fits into a pull request: the sentence, one row a gate, the command that shows the same."""
    lines = [
        f"### elfbench: {decision.status} ({decision.suite}, {decision.rows} rows)",
        "",
        decision.sentence,
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|:--|:--|:--|--:|--:|--:|--:|--:|:--|",
    ]
    for verdict in decision.verdicts:
        cells = table_row(verdict)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    skipped = [f"- {tier.cell}: {tier.status}, {tier.why}" for tier in decision.exact]
    lines += [
        "",
        "Ids against the baseline's:",
        "",
        *skipped,
        "",
        "Reproduce:",
        "",
        "```",
        decision.reproduce,
        "```",
        "",
    ]
    return "\n".join(lines)


def table_row(verdict: Verdict) -> list[str]:
    """What stands under `COLUMNS`, in the terminal and in a pull request."""
    bounds = (
        f">= {verdict.floor:.4g}"
        if verdict.floor is not None
        else f"{signed(verdict.lower)} .. {signed(verdict.upper)}"
    )
    return [
        verdict.status,
        verdict.cell,
        verdict.metric,
        f"{verdict.baseline:.4g}",
        f"{verdict.value:.4g}",
        signed(verdict.loss),
        bounds,
        str(verdict.n),
        verdict.tier,
    ]


def signed(share: float | None) -> str:
    """+1.3%, -0.2%, 0.0%; empty where there is none."""
    if share is None:
        return ""
    return "0.0%" if abs(share) < 5e-4 else f"{share:+.1%}"


def as_junit(decision: Decision) -> bytes:
    """One test case a gate; an open gate is an error, as it decides nothing."""
    failures = sum(verdict.status == "FAIL" for verdict in decision.verdicts)
    open_ = sum(verdict.status == "INCONCLUSIVE" for verdict in decision.verdicts)
    suite = ElementTree.Element(
        "testsuite",
        name=f"elfbench {decision.suite}",
        tests=str(len(decision.verdicts)),
        failures=str(failures),
        errors=str(open_),
        skipped="0",
    )
    for verdict in decision.verdicts:
        case = ElementTree.SubElement(suite, "testcase", classname=f"elfbench.{decision.suite}", name=verdict.gate)
        if verdict.status != "PASS":
            tag = "failure" if verdict.status == "FAIL" else "error"
            part = ElementTree.SubElement(case, tag, message=verdict.sentence)
            part.text = f"{verdict.sentence}\n{decision.reproduce}"
        else:
            ElementTree.SubElement(case, "system-out").text = verdict.sentence
    root = ElementTree.Element("testsuites", name="elfbench")
    root.append(suite)
    ElementTree.indent(root)
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"

"""The committed panel of controls: real text passes, every control is rejected, and the bands follow their rule."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from elfbench.running.suites import load_suite
from elfbench.spec.suite import SuitePanel

REPORT = Path(__file__).resolve().parents[2] / "reports" / "controls-panel"
CALIBRATION, REAL = "real text of other years", "real text"
Numbers = dict[str, dict[str, tuple[float, float, int]]]


@pytest.fixture(scope="module")
def numbers() -> Numbers:
    """label -> metric -> (low, high, n)."""
    found: Numbers = {}
    with (REPORT / "results.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            place = found.setdefault(row["label"], {})
            # A law of ranks has no exponent on one text.
            if row["value"] or (row["model"], row["metric"]) != ("tiled", "zipf_exponent"):
                place[row["metric"]] = (float(row["low"]), float(row["high"]), int(row["n"]))
    return found


@pytest.fixture(scope="module")
def panel() -> SuitePanel:
    found = load_suite("controls-panel").panel
    assert found is not None
    return found


def _rejecting(numbers: Numbers, panel: SuitePanel, label: str) -> set[str]:
    found = set()
    for metric, (low, high, _) in numbers[label].items():
        band = panel.bands[metric]
        below = band.low is not None and high < band.low
        above = band.high is not None and low > band.high
        if below or above:
            found.add(metric)
    return found


def test_bands_are_the_calibration_interval_widened_by_half_its_width(numbers: Numbers, panel: SuitePanel) -> None:
    for metric, band in panel.bands.items():
        low, high, n = numbers[CALIBRATION][metric]
        half = (high - low) / 2 if high > low else 3 / n
        for end, wanted in ((band.low, low - half), (band.high, high + half)):
            assert end is None or end == pytest.approx(wanted, rel=1e-3), metric


def test_real_text_is_accepted_and_every_control_rejected(numbers: Numbers, panel: SuitePanel) -> None:
    rejecting = {label: _rejecting(numbers, panel, label) for label in numbers}
    assert not rejecting[REAL]
    assert not rejecting[CALIBRATION]
    controls = {label for label in numbers if label not in (REAL, CALIBRATION, "AR", "MDLM")}
    assert len(controls) == 9
    assert all(rejecting[label] for label in controls)


def test_the_table_says_what_the_numbers_say(numbers: Numbers, panel: SuitePanel) -> None:
    lines = (REPORT / "panel.md").read_text(encoding="utf-8").replace("\\", "").splitlines()
    for label in numbers:
        (line,) = [line for line in lines if line.startswith((f"| {label} |", f"| {label} @"))]
        count = line.split(" | ")[2]
        assert count == f"{len(_rejecting(numbers, panel, label))} of {len(numbers[label])}"

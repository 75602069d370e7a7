"""What the numbers of a table mean, in sentences made from the protocols: the same in every format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elfbench.reporting.discrimination import MARK, undiscriminating
from elfbench.reporting.real_text import real_text_sentences
from elfbench.reporting.section import Section
from elfbench.reporting.spreads import spread_sentences
from elfbench.reporting.training_seeds import covered_sentence


def paragraphs(section: Section) -> list[str]:
    """The caption: what was measured with what, faults of the rows, the judge's real text, what columns are, which metrics can't rank, and how
    to read intervals and bold type.
    """
    found = [
        _setting(section),
        [*([section.faults] if section.faults else []), *spread_sentences(section)],
        real_text_sentences(section),
        _columns(section),
        _undiscriminating(section),
        [
            *([covered] if (covered := covered_sentence(section)) else []),
            "Bold: model rows that may be the best, or for 'match' columns the nearest to the reference: no other is surely better (Holm over all pairs).",
        ],
    ]
    return [" ".join(sentences) for sentences in found if sentences]


def caption(section: Section) -> str:
    """All of it in a row, for formats whose captions are one paragraph."""
    return " ".join(paragraphs(section))


def judge_title(metric: Mapping[str, Any]) -> str | None:
    """The judge's full name, where the metric has one."""
    measurement = metric["protocol"]["measurement"]
    instrument = measurement.get("judge") or measurement.get("featurizer")
    return str(instrument["title"]) if instrument else None


def _setting(section: Section) -> list[str]:
    """Suite, texts, instruments and reference."""
    measure = section.suite.get("measure") or {}
    judges = sorted({title for metric in section.metrics if (title := judge_title(metric))})
    levels = sorted({metric["protocol"]["interval"]["level"] for metric in section.metrics})
    window = f"the first {measure['window']} tokens" if measure.get("window") else "whole texts"
    sentences = [
        f"{section.suite['title']} (suite {section.name}, version {section.suite['version']}).",
        f"Values with {'/'.join(f'{level:.0%}' for level in levels)} intervals; n is the number of rows used.",
        f"Texts: {measure.get('view', 'final')} view, {window} of the measuring tokenizer ({measure.get('tokenizer', 'words')}).",
    ]
    if judges:
        sentences.append(f"Instruments: {', '.join(judges)}.")
    if protocols := _own_protocols(section):
        sentences.append(
            f"Columns under a protocol of their own, with its text, tokens and pooling, compare with no other column: {protocols}."
        )
    if section.reference:
        sentences.append(f"Reference: {section.reference['name']}, {section.reference['rows']} texts.")
    return sentences


def _columns(section: Section) -> list[str]:
    """What single columns are."""
    measured = [metric["protocol"]["measurement"] for metric in section.metrics]
    names = {metric["metric"] for metric in section.metrics}
    sentences = []
    if trained := [one["training"]["name"] for one in measured if "training" in one]:
        sentences.append(
            f"Matches and novel n-grams: in {trained[0]}, the training text; held-out text's own value is the aim."
        )
    if "unigram_entropy" in names:
        sentences.append("Entropy is the mean unigram entropy within a text, a proxy of the model's entropy.")
    if "nfe" in names:
        sentences.append("NFE counts network forward passes per text, final decoding included.")
    if likelihoods := [one["texts"]["name"] for one in measured if one["measurement"] == "likelihood"]:
        sentences.append(
            f"NLL is a model's own, of held-out text ({likelihoods[0]}), per UTF-8 byte, whatever the steps and sampling options of a row; "
            "numbers with a sign in front are upper bounds, or with a tilde estimates, and compete with no exact one."
        )
    return [*sentences, *_timings(section)]


def _undiscriminating(section: Section) -> list[str]:
    marked = undiscriminating(section)
    titles = {metric["metric"]: metric["title"] for metric in section.metrics}
    told = "; ".join(f"{titles[name]} ({', '.join(controls)})" for name, controls in marked.items())
    return (
        [f"{MARK} ranks a control surely above a trained model, so it is not discriminative here: {told}."]
        if marked
        else []
    )


def _timings(section: Section) -> list[str]:
    """One sentence for each machine and setting that something was timed on."""
    sentences = [
        f"Speed: on {one['device']}, {one['threads']} {'thread' if one['threads'] == 1 else 'threads'}, torch {one['torch']}, batches of "
        f"{', '.join(map(str, one['batches']))}, each alone, after warm-up ({one['warmup']}); medians of n runs with order-statistic intervals; "
        "memory is the peak of the largest batch, beyond the loaded model. Other machines have other numbers."
        for metric in section.metrics
        if (one := metric["protocol"]["measurement"])["measurement"] == "timing"
    ]
    return list(dict.fromkeys(sentences))


def _own_protocols(section: Section) -> str:
    """'elf (18cf2d6c0da3), ...': protocols of judging beside `clean`, with their digests."""
    definitions = [metric["protocol"]["measurement"].get("definition") for metric in section.metrics]
    return ", ".join(dict.fromkeys(f"{one['name']} ({one['digest'][:12]})" for one in definitions if one))

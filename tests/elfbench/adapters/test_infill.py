"""Prompts and gaps for discrete diffusion: what is given stays, what is open is filled, and paths end in the sample."""

from __future__ import annotations

import numpy as np
import pytest

import elfbench
from elfbench.adapters.discrete import MDLM_SOTU, DiscreteModel
from elfbench.core.errors import ConfigError
from elfbench.spec.prompts import is_infill, parse_prompt
from elfbench.spec.sampling import Prompt, SampleRequest


@pytest.fixture(scope="module")
def model() -> DiscreteModel:
    return MDLM_SOTU.toy(0)


def test_prompts_are_read_as_they_are_typed() -> None:
    assert parse_prompt("a text", 9) == Prompt(None, ("a text", 9))
    assert parse_prompt("a {3} b{2}", 9) == Prompt(None, ("a ", 3, " b", 2))
    assert parse_prompt("{3} b", 9).segments == (3, " b")
    assert [is_infill(parse_prompt(text, 9)) for text in ("a", "a {3}", "{3} a", "a {3} b")] == [
        False,
        False,
        True,
        True,
    ]
    for nothing in ("", "{3}", "a {0} b"):
        with pytest.raises(ConfigError, match="--prompt"):
            parse_prompt(nothing, 9)


def test_gaps_are_filled_and_the_rest_stays(model: DiscreteModel) -> None:
    prompts = (parse_prompt("the {4} fox", 1), parse_prompt("a {2} b {3}c", 1))
    batch = model.sample(SampleRequest((0, 1), (5, 6), 1, 6, prompts))
    assert batch.lengths.tolist() == [12, 11]
    first, second = (bytes(row[:n].tolist()) for row, n in zip(batch.tokens, batch.lengths, strict=True))
    assert (first[:4], first[8:]) == (b"the ", b" fox")
    assert (second[:2], second[4:7], second[-1:]) == (b"a ", b" b ", b"c")
    alone = model.sample(SampleRequest((1,), (6,), 1, 6, prompts[1:]))
    assert alone.tokens[0].tolist() == batch.tokens[1, :11].tolist()
    assert (batch.nfe <= np.array([4, 5])).all(), "no pass without an open position"


def test_a_continuation_is_the_new_part_alone(model: DiscreteModel) -> None:
    batch = model.sample(SampleRequest((0,), (5,), 7, 4, (Prompt(None, ("the fox", 7)),)))
    assert batch.tokens.shape == (1, 7)
    assert batch.positions.tolist() == (batch.nfe * 14).tolist()


def test_the_path_of_an_infilling_ends_in_the_sample(model: DiscreteModel) -> None:
    request = SampleRequest((0,), (5,), 1, 6, (parse_prompt("the {4} fox", 1),))
    path = model.trace(request, 3)
    assert path.tokens[-1].tolist() == model.sample(request).tokens.tolist()
    assert (path.tokens[0][0] == -1).sum() <= 4


def test_what_an_entry_can_not_do_is_refused() -> None:
    with pytest.raises(ConfigError, match="does not fill in gaps"):
        elfbench.sample("ar-oracle", n=1, prompt="the {2} dog")
    with pytest.raises(ConfigError, match="does not continue text"):
        elfbench.sample("unigram", n=1, prompt="the")
    with pytest.raises(ConfigError, match="too long"):
        elfbench.sample("mdlm-oracle", n=1, steps=2, prompt="the {40} dog")

from __future__ import annotations

import pytest

from elfbench.core.errors import ConfigError
from elfbench.spec.card import ModelCard, OptionSpec, TokenizerSpec, WeightsSpec
from elfbench.spec.cell import Numerics, sample_cell


def _card(**changes: object) -> ModelCard:
    fields: dict[str, object] = {
        "name": "toy",
        "revision": "1",
        "implementation": 1,
        "title": "toy",
        "summary": "",
        "family": "discrete",
        "tokenizer": TokenizerSpec(name="bytes", digest="t"),
        "vocab_size": 8,
        "max_length": 16,
        "options": {
            "temperature": OptionSpec(
                type="float", default=1.0, minimum=0.0, maximum=2.0, meaning="softmax temperature"
            ),
            "order": OptionSpec(type="str", default="random", choices=("random", "left"), meaning="unmasking order"),
        },
        "has_steps": True,
        "licence": "none",
        "citation": "none",
        "weights": WeightsSpec(kind="none", digest="w"),
    }
    return ModelCard(**(fields | changes))  # type: ignore[arg-type]


def _id(card: ModelCard | None = None, **changes: object) -> str:
    settings: dict[str, object] = {"length": 8, "steps": 4, "root_seed": 0, "options": {}}
    return sample_cell(card or _card(), **(settings | changes)).id  # type: ignore[arg-type]


def test_defaults_and_number_types_do_not_change_the_id() -> None:
    assert (
        _id()
        == _id(options={"temperature": 1.0})
        == _id(options={"temperature": 1})
        == _id(options={"order": "random"})
    )
    assert _id(options={"temperature": 2}) == _id(options={"temperature": 2.0})


def test_everything_that_can_change_ids_changes_the_id() -> None:
    ids = [
        _id(),
        _id(length=9),
        _id(steps=5),
        _id(root_seed=1),
        _id(options={"temperature": 0.5}),
        _id(weights_digest="other"),
        _id(numerics=Numerics(sampling_dtype="float32")),
        _id(_card(implementation=2)),
        _id(_card(revision="2")),
        _id(_card(tokenizer=TokenizerSpec(name="bytes", digest="u"))),
    ]
    assert len(set(ids)) == len(ids)


def test_titles_and_summaries_are_no_identity() -> None:
    assert _id(_card(title="another", summary="text")) == _id()


def test_without_steps_a_grid_is_one_cell() -> None:
    card = _card(has_steps=False)
    assert _id(card, steps=4) == _id(card, steps=8)


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"temprature": 1.0}, "temperature"),
        ({"temperature": 3.0}, "0 to 2"),
        ({"order": "lef"}, "left"),
        ({"temperature": "hot"}, "float"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        _id(options=options)

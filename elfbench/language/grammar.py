"""A probabilistic grammar with agreement, as data: features, lexicon and rules (the format is told at the top of `oracle.yaml`).

Rules with variables are written out once per value, so that what remains is a plain context-free grammar of ground symbols.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from elfbench.core.canonical import digest
from elfbench.core.errors import ConfigError, unknown

_SYMBOL = re.compile(r"(?P<name>[A-Za-z_]+)(?:\[(?P<arguments>[^\]]*)\])?")
_VOWELS = "aeiou"


class Symbol(NamedTuple):
    """A ground symbol: a nonterminal (`NP`, ('sg',)), a lexicon class (`person`, ('sg', 'c')), or a word (`'`, ('the',))."""

    name: str
    arguments: tuple[str, ...] = ()


class Alternative(NamedTuple):
    """One way of writing a symbol; the probabilities of a symbol's alternatives sum to 1."""

    probability: float
    symbols: tuple[Symbol, ...]


Lemma = tuple[str, ...]
"""A word in all its forms, in the order of the category's `forms`."""


@dataclass(frozen=True)
class Grammar:
    """A whole grammar, checked."""

    name: str
    version: int
    start: Symbol
    end_of_text: str
    full_stop: str
    digest: str
    """sha256 of the definition."""
    lexicon: Mapping[str, tuple[Lemma, ...]]
    classes: Mapping[Symbol, Mapping[str, float]]
    """Lexicon class -> its words with probabilities that sum to 1."""
    rules: Mapping[Symbol, tuple[Alternative, ...]]
    agreement: Mapping[str, Mapping[str, tuple[str, ...]]]
    """Word -> words that break one agreement where it is right; per name of the agreement."""

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The vocabulary: the end of text first, which the grammar never writes, then the words in a fixed order."""
        found = {word for weights in self.classes.values() for word in weights}
        for alternatives in self.rules.values():
            for alternative in alternatives:
                found |= {symbol.arguments[0] for symbol in alternative.symbols if symbol.name == "'"}
        return (self.end_of_text, *sorted(found))


def load_grammar(path: Path) -> Grammar:
    """The grammar of a YAML file. Raises ConfigError for what makes no grammar."""
    return build_grammar(yaml.safe_load(path.read_text(encoding="utf-8")))


def build_grammar(content: Mapping[str, Any]) -> Grammar:
    """The grammar of plain data. Raises ConfigError when probabilities do not sum to 1 or a symbol is not defined."""
    zipf = float(content["zipf"])
    lexicon, classes = _lexicon(content["lexicon"], zipf)
    features = _features(content["features"], classes, lexicon)
    rules = _rules(content["rules"], features)
    start = Symbol(str(content["start"]))
    _check(rules, classes, start)
    return Grammar(
        name=str(content["language"]),
        version=int(content["version"]),
        start=start,
        end_of_text=str(content["end_of_text"]),
        full_stop=str(content["full_stop"]),
        digest=digest(content),
        lexicon=lexicon,
        classes=classes,
        rules=rules,
        agreement=_agreement(content["agreement"], lexicon, classes),
    )


def _lexicon(
    content: Mapping[str, Any], zipf: float
) -> tuple[dict[str, tuple[Lemma, ...]], dict[Symbol, Mapping[str, float]]]:
    lexicon: dict[str, tuple[Lemma, ...]] = {}
    classes: dict[Symbol, Mapping[str, float]] = {}
    for category, entry in content.items():
        forms, lemmas = entry["forms"], tuple(tuple(line.split()) for line in entry["words"])
        for lemma in lemmas:
            if len(lemma) != len(forms):
                raise ConfigError(
                    "a lemma with other forms than its category", key=f"lexicon.{category}", found=lemma, allowed=forms
                )
        lexicon[category] = lemmas
        weights: dict[Symbol, dict[str, float]] = {}
        for rank, lemma in enumerate(lemmas, start=1):
            for form, word in zip(forms, lemma, strict=True):
                sound = ("v" if word[0] in _VOWELS else "c",) if entry.get("sounds") else ()
                weights.setdefault(Symbol(category, (form, *sound)), {})[word] = rank**-zipf
        classes |= {symbol: _normalized(words) for symbol, words in weights.items()}
    return lexicon, classes


def _features(
    content: Mapping[str, Any], classes: Mapping[Symbol, Mapping[str, float]], lexicon: Mapping[str, Sequence[Lemma]]
) -> dict[str, Mapping[str, float]]:
    features: dict[str, Mapping[str, float]] = {}
    for name, values in content.items():
        if "words" in values:
            categories = values["words"]
            features[name] = {
                word: probability / len(categories)
                for category in categories
                for symbol, words in classes.items()
                if symbol.name == category
                for word, probability in words.items()
            }
        else:
            features[name] = values
        _sums_to_one(features[name].values(), f"features.{name}")
    return features


def _rules(
    content: Mapping[str, Sequence[Any]], features: Mapping[str, Mapping[str, float]]
) -> dict[Symbol, tuple[Alternative, ...]]:
    rules: dict[Symbol, list[Alternative]] = {}
    for left, alternatives in content.items():
        name, arguments = _split(left)
        variables = [argument for argument in arguments if argument in features]
        for values in product(*(features[variable] for variable in variables)):
            bound = dict(zip(variables, values, strict=True))
            symbol = Symbol(name, tuple(bound.get(argument, argument) for argument in arguments))
            if symbol in rules:
                raise ConfigError("a rule that is written twice", key=f"rules.{left}", found=symbol)
            rules[symbol] = [one for text in alternatives for one in _written_out(str(text), bound, features)]
            _sums_to_one([one.probability for one in rules[symbol]], f"rules.{left}")
    return {symbol: tuple(alternatives) for symbol, alternatives in rules.items()}


def _written_out(text: str, bound: Mapping[str, str], features: Mapping[str, Mapping[str, float]]) -> list[Alternative]:
    """One alternative for every value of the variables that it brings in."""
    probability, *parts = text.split()
    free = list(
        dict.fromkeys(
            argument
            for part in parts
            if not part.startswith("'")
            for argument in _split(part)[1]
            if argument in features and argument not in bound
        )
    )
    written = []
    for values in product(*(features[variable].items() for variable in free)):
        values_of = {**bound, **{variable: value for variable, (value, _) in zip(free, values, strict=True)}}
        weight = float(probability)
        for _, chance in values:
            weight *= chance
        written.append(Alternative(weight, tuple(_ground(part, values_of) for part in parts)))
    return written


def _ground(part: str, values: Mapping[str, str]) -> Symbol:
    if part.startswith("'"):
        return Symbol("'", (part[1:-1],))
    name, arguments = _split(part)
    ground = tuple(values.get(argument, argument) for argument in arguments)
    return Symbol("'", ground) if name == "word" else Symbol(name, ground)


def _split(text: str) -> tuple[str, tuple[str, ...]]:
    match = _SYMBOL.fullmatch(text)
    if match is None:
        raise ConfigError("not a symbol", key="rules", found=text, allowed="NAME or NAME[feature,feature]")
    arguments = match["arguments"]
    return match["name"], tuple(arguments.split(",")) if arguments else ()


def _agreement(
    content: Mapping[str, Mapping[str, Sequence[str]]],
    lexicon: Mapping[str, Sequence[Lemma]],
    classes: Mapping[Symbol, Mapping[str, float]],
) -> dict[str, dict[str, tuple[str, ...]]]:
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for name, parts in content.items():
        groups: list[tuple[str, ...]] = [lemma for category in parts.get("forms", ()) for lemma in lexicon[category]]
        if "words" in parts:
            groups.append(tuple(word for category in parts["words"] for lemma in lexicon[category] for word in lemma))
        found[name] = {word: tuple(other for other in group if other != word) for group in groups for word in group}
        for category in parts.get("sounds", ()):
            found[name] |= _other_sounds(category, classes)
    return found


def _other_sounds(category: str, classes: Mapping[Symbol, Mapping[str, float]]) -> dict[str, tuple[str, ...]]:
    """Each word of the category -> its words of the same form that begin with the other sound."""
    return {
        word: tuple(
            classes.get(Symbol(category, (symbol.arguments[0], "v" if symbol.arguments[1] == "c" else "c")), ())
        )
        for symbol, words in classes.items()
        if symbol.name == category
        for word in words
    }


def _check(
    rules: Mapping[Symbol, Sequence[Alternative]], classes: Mapping[Symbol, Mapping[str, float]], start: Symbol
) -> None:
    for left, alternatives in rules.items():
        for symbol in (symbol for alternative in alternatives for symbol in alternative.symbols):
            if symbol.name != "'" and symbol not in rules and symbol not in classes:
                known = [str(one) for one in (*rules, *classes)]
                raise unknown("symbol", str(symbol), known, key=f"rules.{left.name}")
    if start not in rules:
        raise ConfigError("a start symbol without a rule", key="start", found=start.name)


def _normalized(weights: Mapping[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    return {word: weight / total for word, weight in weights.items()}


def _sums_to_one(probabilities: Any, key: str) -> None:
    total = float(sum(probabilities))
    if abs(total - 1.0) > 1e-9:
        raise ConfigError("probabilities that do not sum to 1", key=key, found=round(total, 6), allowed="1")

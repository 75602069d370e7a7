"""Surface features of a text: word and sentence lengths, punctuation, spelling. No language model takes part.

The list is a measurement with a version: whoever changes a feature raises it in `running.measuring`. Made for text with
words between spaces and sentences that end in . ! or ?; no list of words of any language. What the paper that recommends
an energy distance counts (arXiv 2606.08417) is not known here: these are our features, under our name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

_WORD = re.compile(r"\w+(?:['\u2019-]\w+)*")
_SENTENCE_END = re.compile(r"[.!?]+")
_SPACE = re.compile(r"\s+")

FEATURES = (
    "word_length_mean",
    "word_length_sd",
    "long_word_share",  # of more than 7 characters
    "sentence_length_mean",  # words; a sentence that the window cuts counts as it stands
    "sentence_length_sd",
    "sentence_ends_per_word",
    "commas_per_word",
    "other_marks_per_word",
    "capitalized_share",
    "capitalized_inside_share",  # names: capitalized words that do not begin a sentence
    "uppercase_share",  # words of two or more characters, all of them capitals
    "number_share",
    "distinct_share",
    "repeated_share",  # words equal to the word before
    "characters_per_space",
    "line_breaks_per_word",
)


def surface_features(texts: Sequence[str]) -> np.ndarray:
    """float64 [N, len(FEATURES)]: lengths in characters or words, the others per word. A text without words has zeros."""
    rows = [_features(text) for text in texts]
    return np.array(rows, dtype=np.float64).reshape(len(texts), len(FEATURES))


def _features(text: str) -> list[float]:
    sentences = [words for part in _SENTENCE_END.split(text) if (words := _WORD.findall(part))]
    words = [word for sentence in sentences for word in sentence]
    if not words:
        return [0.0] * len(FEATURES)
    n = len(words)
    lengths = np.array([len(word) for word in words], dtype=np.float64)
    counts = np.array([len(sentence) for sentence in sentences], dtype=np.float64)
    inside = [word for sentence in sentences for word in sentence[1:]]
    ends = len(_SENTENCE_END.findall(text))
    commas = text.count(",")
    marks = sum(1 for character in _WORD.sub("", text) if not character.isspace()) - commas
    marks -= sum(len(run) for run in _SENTENCE_END.findall(text))
    return [
        float(lengths.mean()),
        float(lengths.std()),
        float((lengths > 7).mean()),
        float(counts.mean()),
        float(counts.std()),
        ends / n,
        commas / n,
        marks / n,
        sum(word[0].isupper() for word in words) / n,
        sum(word[0].isupper() for word in inside) / n,
        sum(len(word) > 1 and word.isupper() for word in words) / n,
        sum(any(character.isdigit() for character in word) for word in words) / n,
        len({word.lower() for word in words}) / n,
        sum(one.lower() == other.lower() for one, other in pairwise(words)) / n,
        len(text) / (1 + len(_SPACE.findall(text))),
        text.count("\n") / n,
    ]

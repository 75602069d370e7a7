"""The text that models were trained on, which memorization is measured against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elfbench.core.canonical import array_digest, digest
from elfbench.core.errors import ConfigError, unknown
from elfbench.language.oracle import oracle, training_windows
from elfbench.loading.corpus import SPLITS, documents, split_digest, streamed
from elfbench.spec.suite import SuiteTraining


@dataclass(frozen=True, slots=True)
class TrainingText:
    """The documents of a training split; `texts` reads them when they are needed, `digest` tells which they are."""

    name: str
    digest: str
    texts: Callable[[], list[str]]

    def describe(self) -> dict[str, Any]:
        """What protocols keep of it."""
        return {"name": self.name, "digest": self.digest}


def training_text(spec: SuiteTraining) -> TrainingText:
    """The text of a suite's `training` block; `oracle` is the training set of the oracle language's entries, a window a document.

    Raises ConfigError for an unknown corpus or split, or a split without documents.
    """
    # A file is told by its name: a path says nothing on another machine, and the digest all.
    corpus = Path(spec.corpus).name if Path(spec.corpus).is_file() else spec.corpus
    name = f"{corpus}:{spec.split}"
    if spec.corpus != oracle().name:
        found = split_digest(spec.corpus, spec.split)
        return TrainingText(name, found, lambda: [one.text for one in documents(spec.corpus, spec.split)])
    if spec.split != "train":
        raise _one_split(spec.split)
    content = digest({"language": oracle().digest, "windows": array_digest([training_windows()])})
    return TrainingText(name, content, lambda: [oracle().decode(row) for row in training_windows()])


def check_training(spec: SuiteTraining) -> None:
    """Raises ConfigError for an unknown corpus or split, whether or not a metric will read it. Reads no text."""
    if spec.corpus == oracle().name:
        if spec.split != "train":
            raise _one_split(spec.split)
        return
    try:
        streamed(spec.corpus, spec.split)
    except ConfigError as error:
        raise ConfigError(
            error.message,
            key=f"training.{error.key}",
            found=error.found,
            allowed=error.allowed,
            remedy=error.remedy,
        ) from None


def _one_split(found: str) -> ConfigError:
    return ConfigError(
        "training text of the oracle language has one split", key="training.split", found=found, allowed="train"
    )


def parsed(source: str) -> SuiteTraining:
    """'CORPUS[:SPLIT]' of the command line. Without a split a file counts whole, and a corpus with its training split."""
    corpus, _, split = source.rpartition(":")
    if corpus and split in SPLITS:
        return SuiteTraining(corpus=corpus, split=split)
    if corpus and not corpus.startswith("datasets") and not Path(source).is_file():
        raise unknown("split", split, SPLITS, key="--training")
    return SuiteTraining(corpus=source, split="all" if Path(source).is_file() else "train")

"""The embedded featurizer, all-MiniLM-L6-v2."""

from __future__ import annotations

from elfbench.judges.assets import MINILM_PACKAGE, model_file
from elfbench.judges.encoder import Encoder, Reading
from elfbench.loading.model_folder import ModelFolder

MAX_TOKENS = 256


def minilm() -> Encoder:
    """Mean of the last layer over a text's real tokens, at most 256 with [CLS] and [SEP]; 384 numbers, not normalized.

    Weak on word order: word-shuffled text lies close to the text it was made of, so a distance of distributions in this
    space (MAUVE) must not be the only metric of a report. docs/featurizers.md has the numbers.
    """
    title, reading = "all-MiniLM-L6-v2 (mean pooling)", Reading("mean", MAX_TOKENS)
    return Encoder("minilm", title, reading, lambda: ModelFolder(model_file(MINILM_PACKAGE).parent, key="featurizer"))


MINILM = minilm()

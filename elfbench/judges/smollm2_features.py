"""The embedded judge as a featurizer: the last layer of SmolLM2-135M-Instruct, 576 numbers."""

from __future__ import annotations

from elfbench.core.canonical import digest
from elfbench.judges.assets import SMOLLM2_PACKAGE, cache_folder, model_file
from elfbench.judges.conversion import converted
from elfbench.judges.encoder import LAST_MAX_TOKENS, Encoder, Pooling, Reading
from elfbench.judges.smollm2 import CONVERSION, SMOLLM2
from elfbench.loading.model_folder import ModelFolder


def smollm2_features(pooling: Pooling, *, name: str) -> Encoder:
    """Lazy: the digest needs the GGUF file alone; the file is converted at first use (about half a minute)."""
    reading = Reading(pooling, LAST_MAX_TOKENS)
    return Encoder(name, f"{SMOLLM2.title} ({reading.words})", reading, _folder, identity=_identity)


def _folder() -> ModelFolder:
    return ModelFolder(converted(model_file(SMOLLM2_PACKAGE), SMOLLM2_PACKAGE.sha256, cache_folder()), key="featurizer")


def _identity() -> str:
    """sha256 over the GGUF file and its conversion. Raises PrerequisiteError when the package is missing."""
    model_file(SMOLLM2_PACKAGE)
    return digest({"gguf": SMOLLM2_PACKAGE.sha256, "conversion": CONVERSION})


LAST = smollm2_features("last", name=SMOLLM2.name)
MEAN = smollm2_features("mean", name=f"{SMOLLM2.name}#mean")

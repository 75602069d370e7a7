"""L0: errors, canonical JSON and digests, seeds, provenance. Imports nothing of elfbench."""

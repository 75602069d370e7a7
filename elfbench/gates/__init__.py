"""L4: regression gates: a store against a committed baseline, decided from stored numbers; no torch, no sampling."""

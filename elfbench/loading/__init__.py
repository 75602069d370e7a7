"""L2: files and corpora become records and arrays: strict YAML, suites, samples, corpora, windows, tokenizers. No torch."""

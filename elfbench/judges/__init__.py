"""L3: measuring tokenizers, judges (causal language models) and featurizers. Torch is imported at first use."""

"""Reference implementations of the baselines that diffusion language models are compared with. Knows nothing of benchmarking."""

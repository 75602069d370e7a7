"""L4: planning, sampling, measuring and scoring; the public functions `run`, `plan`, `sample` and `score`."""

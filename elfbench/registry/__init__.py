"""L2: one registry idiom for models, metrics, suites, judges, featurizers and corpora."""

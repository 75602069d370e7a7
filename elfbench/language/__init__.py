"""The oracle language: a probabilistic grammar whose texts can be scored exactly. Numpy only."""

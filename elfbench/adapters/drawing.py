"""The draw that token samplers of `dlm_baselines` share, as conformance audits it."""

from __future__ import annotations

import numpy as np


def draw_ids(probabilities: np.ndarray, uniforms: np.ndarray, device: str) -> np.ndarray:
    """Ids [N] int64 from probabilities [N, V] and uniforms [N], by the function that the samplers call."""
    import torch

    from dlm_baselines.categorical import draw

    found = draw(torch.tensor(probabilities, device=device), torch.tensor(uniforms, device=device))
    ids: np.ndarray = found.cpu().numpy()
    return ids

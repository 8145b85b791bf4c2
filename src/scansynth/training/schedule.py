"""The learning rate over a run. Without settings or torch, so that others in a comparison can have the same."""

import math


def schedule(step: int, steps: int, warmup: int) -> float:
    """Share of the peak learning rate at ``step`` (0, 1, ...): linear warm-up, then a cosine down to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / max(1, steps - warmup))

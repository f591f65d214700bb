"""Noise that follows from a seed and a number alone."""

import torch


def seed_noise(seed: int, number: int) -> None:
    """Let torch's noise begin anew, by a seed of any size and the number of what it is for."""
    torch.manual_seed((seed * 1_000_003 + number) % 2**63)

"""Training and evaluation mode of networks."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def evaluating(network: torch.nn.Module) -> Iterator[None]:
    """Put a network in evaluation mode for a block, and back as it was."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)

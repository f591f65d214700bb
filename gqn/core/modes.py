"""Training and evaluation mode of networks."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def evaluating(network: torch.nn.Module) -> Iterator[None]:
    """The network in evaluation mode, and back as it was."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)

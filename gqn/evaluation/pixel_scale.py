"""A scale for each pixel: how far the truth may lie from the mean of prior samples, fitted after training.

Training has one sigma for all pixels, by which an even background is as doubtful as an edge. Here a few convolutions
read the mean of a frame's samples and how these differ, and say of each value the standard deviation of a normal
distribution round that mean. They learn it by the likelihood of 8-bit values; the network itself learns nothing.
"""

import torch
from torch import Tensor, nn

from gqn.core.progress import Progress
from gqn.evaluation.likelihood import log_probability_of_level

LEAST = 1e-3  # a quarter of a level of 8 bits; the largest is 1
FIRST = -3.0  # before the sigmoid
WIDTH = 16
STEPS = 300
BATCH = 8  # frames
LEARNING_RATE = 1e-2


class PixelScale(nn.Module):
    """Standard deviation of each value of frames, (n, c, h, w), by the mean and the deviation of samples, the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        last = nn.Conv2d(WIDTH, channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        assert last.bias is not None
        nn.init.constant_(last.bias, FIRST)
        self.layers = nn.Sequential(
            nn.Conv2d(2 * channels, WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=2, dilation=2),
            nn.ReLU(),
            last,
        )

    def forward(self, mean: Tensor, deviation: Tensor) -> Tensor:
        return LEAST + self.layers(torch.cat([mean - 0.5, 10 * deviation], dim=1)).sigmoid()


def scale_by_others(mean: Tensor, deviation: Tensor, truth: Tensor, seed: int) -> Tensor:
    """Return the scale of each value (n, c, h, w): scenes are dealt to two halves, each fits the other.

    One scene alone is fitted to itself.

    Args:
        mean: of prior samples, (n, c, h, w).
        deviation: of these, the same.
        truth: the same.
        seed: of the weights and of the order of frames.
    """
    half = torch.arange(len(mean), device=mean.device) % 2
    scale = torch.empty_like(truth)
    for number in range(min(2, len(mean))):
        others = half != number if len(mean) > 1 else half == number
        network = fitted(mean[others], deviation[others], truth[others], seed)
        with torch.no_grad(), torch.autocast(mean.device.type, enabled=False):
            for part in torch.where(half == number)[0].split(BATCH):
                scale[part] = network(mean[part], deviation[part])
    return scale


def fitted(mean: Tensor, deviation: Tensor, truth: Tensor, seed: int) -> PixelScale:
    """Return a network that has learned the scale from frames."""
    order = torch.Generator().manual_seed(seed)
    with (
        torch.random.fork_rng(devices=()),
        torch.enable_grad(),
        torch.autocast(mean.device.type, enabled=False),
    ):
        torch.manual_seed(seed)
        network = PixelScale(mean.shape[1]).to(mean.device)
        optimizer = torch.optim.Adam(network.parameters())
        for step in Progress(range(STEPS), "the scale of each pixel is fitted", unit="steps", leave=False):
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - step / STEPS)
            some = torch.randint(len(mean), (BATCH,), generator=order).to(mean.device)
            scale = network(mean[some], deviation[some])
            loss = -log_probability_of_level(truth[some], mean[some], scale).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval()

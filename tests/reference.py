"""The ConvDRAW generator as the paper writes it, step by step, slow and literal: what `gqn.models.generator` equals.

Every input is concatenated and convolved at every step, states start as zeros, the canvas is kept in full size. Its
weights are those of the fast generator, the parts of each convolution put side by side.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from gqn.models.generator import Generator
from gqn.models.layers import ConvLSTMCell


def literal_generator(
    net: Generator, camera: Tensor, r: Tensor, target: Tensor | None, noise: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """One query a scene: camera (b, k), r (b, c, h', w'), target (b, 3, h, w) or None, and the noise of each z.

    Returns the mean (b, 3, h, w) and the KL of each step (b, L).
    """
    b = camera.shape[0]
    v = F.conv_transpose2d(camera[:, :, None, None], net.place_camera.weight)
    if not isinstance(net.place_representation, torch.nn.Identity):
        r = F.conv_transpose2d(r, net.place_representation.weight)
    grid = v.shape[-1]
    h_e = c_e = h_g = c_g = camera.new_zeros(b, net.hidden, grid, grid)
    u = camera.new_zeros(b, net.shrink_canvas.in_channels, grid * net.SCALE, grid * net.SCALE)
    divergences = []
    for step in range(net.generation_steps):
        core = 0 if net.shared_cores else step
        rows = slice(4 * net.hidden * core, 4 * net.hidden * (core + 1))
        p = normal(net.prior(h_g))
        if target is None:
            z = p.mean + p.stddev * noise[step]
            divergences.append(camera.new_zeros(b))
        else:
            x = net.shrink_frame(target)
            # The inference core's weights see (h_g, u, own h, r, v, x) in that order.
            weight = torch.cat(
                [
                    changing_weight(net.inference[core], 2 * net.hidden + u.shape[1], net.inference_frame.weight[rows]),
                    net.inference_representation.weight[rows],
                    net.inference_camera.conv.weight[rows],
                    net.inference_frame.weight[rows],
                ],
                dim=1,
            )
            inputs = torch.cat([h_g, net.shrink_canvas(u), h_e, r, v, x], dim=1)
            h_e, c_e = lstm(inputs, c_e, weight, net.inference_representation.bias[rows])
            q = normal(net.posterior(h_e))
            z = q.mean + q.stddev * noise[step]
            divergences.append(torch.distributions.kl_divergence(q, p).sum(dim=(1, 2, 3)))
        weight = torch.cat(
            [
                changing_weight(net.generation[core], z.shape[1] + net.hidden, net.inference_frame.weight[rows]),
                net.generation_representation.weight[rows],
                net.generation_camera.conv.weight[rows],
            ],
            dim=1,
        )
        inputs = torch.cat([z, h_g, r, v], dim=1)
        h_g, c_g = lstm(inputs, c_g, weight, net.generation_representation.bias[rows])
        u = u + net.grow_canvas(h_g)
    return net.observe(u), torch.stack(divergences, dim=1)


def changing_weight(cell: ConvLSTMCell, channels: int, like: Tensor) -> Tensor:
    """The cell's weights for its changing inputs, with zeros where a first step's cell has none."""
    full = like.new_zeros(like.shape[0], channels, *like.shape[2:])
    if cell.gates is None:
        return full
    return torch.cat([cell.gates.weight, full[:, cell.gates.in_channels :]], dim=1)


def normal(parameters: Tensor) -> torch.distributions.Normal:
    mean, log_variance = parameters.chunk(2, dim=1)
    return torch.distributions.Normal(mean, (0.5 * log_variance).exp())


def lstm(inputs: Tensor, cell: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    gates = F.conv2d(inputs, weight, bias, padding=weight.shape[-1] // 2)
    ingate, forget, output, candidate = gates.chunk(4, dim=1)
    cell = torch.sigmoid(forget) * cell + torch.sigmoid(ingate) * torch.tanh(candidate)
    return torch.sigmoid(output) * torch.tanh(cell), cell

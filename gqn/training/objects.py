"""Object gain: what a network's predictions gain, where the objects are, from the context that shows them.

The context gain compares with a shuffled context, so that floors and walls alone make it large. Here the other
context is that of the scene's twin, which has the same cameras, surroundings and light and holds other objects.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gqn.core.errors import Error
from gqn.core.noise import seed_noise
from gqn.core.views import Views
from gqn.data.batches import FLAT, FRAMES, Scenes, evaluation_batches

CPU = torch.device("cpu")
DIFFERENCE = 10 / 255  # of a pixel in any channel, from which on a scene and its twin count as different there


def check_twins(scenes: Scenes, twins: Scenes) -> None:
    """Raise Error unless the first and the last scene have the cameras of their twins."""
    ends = {0, len(scenes) - 1} if len(scenes) == len(twins) else set()
    if not ends or any(not torch.equal(_cameras(scenes, end), _cameras(twins, end)) for end in ends):
        raise Error("the twins are of other scenes: remove twins/ and torch/twins, and draw and convert them anew")


def _cameras(scenes: Scenes, number: int) -> Tensor:
    """Return the cameras (n, k) of all frames of a scene. Raises ValueError where it has none."""
    found = scenes.observe(FRAMES, number, range(scenes.observations(FRAMES)))
    if found is None:
        raise ValueError(f"scene {number} has no frames")
    return found[1]


def errors_where_different(predicted: Tensor, truth: Tensor, twin: Tensor) -> Tensor:
    """Return PSNR in dB and mean absolute error over the pixels in which a scene differs from its twin.

    Args:
        predicted: Frames (n, c, h, w) in pixel values of 0 to 1, clipped to them first.
        truth: Frames of the scenes, of the same shape.
        twin: Frames of their twins from the same cameras.

    Returns:
        (n, 2), not a number where no pixel differs by more than DIFFERENCE.
    """
    where = ((truth - twin).abs() > DIFFERENCE).any(dim=1, keepdim=True)
    values = where.sum(dim=(1, 2, 3)) * truth.shape[1]
    wrong = (predicted.clamp(0, 1) - truth) * where
    squared = wrong.square().sum(dim=(1, 2, 3)) / values
    # 1e-10, or 100 dB, where the frames are equal.
    return torch.stack([-10 * squared.clamp(min=1e-10).log10(), wrong.abs().sum(dim=(1, 2, 3)) / values], dim=-1)


@torch.no_grad()
def object_gain(
    sample: Callable[[Views, Tensor], Tensor],
    scenes: Scenes,
    twins: Scenes,
    *,
    context: int,
    seed: int,
    limit: int | None = None,
    batch: int = 32,
    device: torch.device = CPU,
) -> dict[str, Any]:
    """Compare predictions from each scene's own context with those from its twin's, where the two scenes differ.

    Args:
        sample: One prior sample of the frames at cameras (b, 1, k) from context views: (b, 1, c, h, w).
        scenes: Held-out scenes; one query view of each is predicted.
        twins: Their twins, in the same order.
        context: Context views of a scene; those of its twin are from the same cameras.
        seed: Of the choice of views, and of the noise, which is the same for both contexts.
        limit: Scenes to take, from the first; None for all.
        batch: Scenes at once.
        device: Where `sample` computes.

    Returns:
        `gain_db`, mean over the scenes of the PSNR under the own context minus that under the twin's; `psnr_db` and
        `mae` under the own context, `twin_psnr_db` and `twin_mae` under the twin's; all over the pixels in which scene
        and twin differ, of which `pixels` is the mean share. `scenes`: how many have such pixels. Nothing where no
        scene differs from its twin in the view that is asked for.

    Raises:
        Error: Where scenes have too few views or the twins are of other scenes.
    """
    check_twins(scenes, twins)
    rows = []
    # Both draw the same views, since these depend on the seed and the scene's number alone.
    both = (
        evaluation_batches(source, FLAT, batch=batch, context=context, seed=seed, limit=limit)
        for source in (scenes, twins)
    )
    for item, twin_item in zip(*both, strict=True):
        own, other = item.batch.to(device), twin_item.batch.to(device)
        truth, twin = own.query.frames[:, 0], other.query.frames[:, 0]
        found = []
        for views in (own.context, other.context):
            seed_noise(seed, item.first)
            found.append(errors_where_different(sample(views, own.query.cameras)[:, 0].float(), truth, twin))
        share = ((truth - twin).abs() > DIFFERENCE).any(dim=1).float().mean(dim=(1, 2))
        rows.append(torch.cat([*found, share[:, None]], dim=-1))
    table = torch.cat(rows).double().cpu()
    table = table[table.isfinite().all(dim=-1)]
    if not len(table):
        return {}
    psnr, mae, twin_psnr, twin_mae, share = table.mean(dim=0).tolist()
    return {
        "scenes": len(table),
        "gain_db": psnr - twin_psnr,
        "psnr_db": psnr,
        "mae": mae,
        "twin_psnr_db": twin_psnr,
        "twin_mae": twin_mae,
        "pixels": share,
    }

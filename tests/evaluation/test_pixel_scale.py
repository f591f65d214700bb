"""The scale of each pixel, where it is known."""

import torch

from gqn.evaluation.metrics import LEVELS, calibration
from gqn.evaluation.pixel_scale import scale_by_others

TRUE = 0.02, 0.2  # scale of dark and of bright pixels


def frames(count: int = 64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Means that are dark or bright in blocks, the truth round them in 8 bits, and the scale by which it was drawn."""
    random = torch.Generator().manual_seed(0)
    bright = (
        (torch.rand(count, 1, 4, 4, generator=random) < 0.5).float().repeat_interleave(4, 2).repeat_interleave(4, 3)
    )
    mean = (0.2 + 0.4 * bright).expand(-1, 3, -1, -1).contiguous()
    scale = (TRUE[0] + (TRUE[1] - TRUE[0]) * bright).expand_as(mean)
    truth = mean + scale * torch.randn(mean.shape, generator=random)
    return mean, (truth.clamp(0, 1) * 255).round() / 255, scale


def test_the_scale_by_which_frames_were_drawn_is_found() -> None:
    mean, truth, scale = frames()
    found = scale_by_others(mean, torch.zeros_like(mean), truth, seed=0)
    assert (found / scale).log().abs().median() < 0.1
    rows = calibration(mean[None], truth, found)
    for name in ("coverage", "coverage_uncertain"):
        torch.testing.assert_close(rows[name].mean(dim=0), torch.tensor(LEVELS), rtol=0, atol=0.06)
    # One scale for all is right for neither.
    sure = calibration(mean[None], truth, torch.full_like(truth, TRUE[0]))
    assert (sure["coverage"].mean(dim=0) < torch.tensor(LEVELS) - 0.1).all()


def test_no_frame_is_in_the_fit_of_its_own_scale() -> None:
    mean, truth, _ = frames(4)
    other = truth.clone()
    other[::2] = 1 - other[::2]
    one, two = (scale_by_others(mean, torch.zeros_like(mean), given, seed=0) for given in (truth, other))
    assert torch.equal(one[::2], two[::2])
    assert not torch.equal(one[1::2], two[1::2])
    # An evaluation in bfloat16 makes it in single precision all the same.
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(scale_by_others(mean, torch.zeros_like(mean), truth, seed=0), one)
    alone = scale_by_others(mean[:1], torch.zeros_like(mean[:1]), truth[:1], seed=0)
    assert alone.isfinite().all()
    assert (alone > 0).all()

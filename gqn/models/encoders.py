"""Representation networks: encoders of one view, a frame and the camera that took it.

Eslami et al. 2018, supplementary figure S1; `gqn.models.volume` has one that is not in the paper. Each maps frames
(n, 3, h, w) and cameras (n, k) to r (n, c, h', w') and says by `output` of which kind r is: a grid of a quarter of the
frame's size (`Tower`), one cell (`Pyramid`, `Pool`) or a volume.
"""

from torch import Tensor, nn

from gqn.core.camera import CAMERA_NUMBERS
from gqn.models.layers import CameraConv2d, constant_planes
from gqn.models.outputs import Grid
from gqn.models.volume import VolumeEncoder


class Pyramid(nn.Module):
    """Strided convolutions down to one cell (supplementary figure S1, left).

    Differs from the paper: for frames of other sizes than 64 pixels the last kernel spans what is left, h // 8.
    """

    def __init__(
        self, *, pixels: int, channels: int = 256, cameras: int = CAMERA_NUMBERS, frame_channels: int = 3
    ) -> None:
        super().__init__()
        self.output = Grid(channels)
        self.first = nn.Conv2d(frame_channels, 32, 2, stride=2)
        # Kernel and stride are equal and nothing is padded: a camera on constant planes adds a constant.
        self.camera = nn.Linear(cameras, 32, bias=False)
        self.rest = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(32, 64, 2, stride=2),
            nn.ReLU(),
            nn.Conv2d(64, 128, 2, stride=2),
            nn.ReLU(),
            nn.Conv2d(128, channels, pixels // 8),
            nn.ReLU(),
        )

    def forward(self, frames: Tensor, cameras: Tensor) -> Tensor:
        return self.rest(self.first(frames) + self.camera(cameras)[:, :, None, None])


class Tower(nn.Module):
    """Two residual stages at a quarter of the frame's size, the camera entering between them (figure S1, middle)."""

    def __init__(
        self, *, pixels: int, channels: int = 256, cameras: int = CAMERA_NUMBERS, frame_channels: int = 3
    ) -> None:
        super().__init__()
        half = channels // 2
        self.output = Grid(channels, pixels // 4, pixels // 4)
        self.first = nn.Conv2d(frame_channels, channels, 2, stride=2)
        self.narrow_1 = nn.Conv2d(channels, half, 3, padding=1)
        self.widen_1 = nn.Conv2d(half, channels, 2, stride=2)
        self.skip_1 = nn.Conv2d(channels, channels, 2, stride=2)
        self.narrow_2 = nn.Conv2d(channels, half, 3, padding=1)
        self.camera_narrow = CameraConv2d(cameras, half, 3, fan_in=channels + cameras)
        self.widen_2 = nn.Conv2d(half, channels, 3, padding=1)
        self.skip_2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.camera_skip = CameraConv2d(cameras, channels, 3, fan_in=channels + cameras)
        self.last = nn.Conv2d(channels, channels, 1)

    def forward(self, frames: Tensor, cameras: Tensor) -> Tensor:
        x = self.first(frames).relu()  # (n, c, h/2, w/2)
        x = self.widen_1(self.narrow_1(x).relu()).relu() + self.skip_1(x).relu()  # (n, c, h/4, w/4)
        planes = constant_planes(cameras.shape[1], x.shape[2], x.shape[3], cameras)
        narrow = (self.narrow_2(x) + self.camera_narrow(cameras, planes)).relu()
        skip = (self.skip_2(x) + self.camera_skip(cameras, planes)).relu()
        return self.last(self.widen_2(narrow).relu() + skip).relu()


class Pool(Tower):
    """`Tower` averaged over space (figure S1, right)."""

    def __init__(
        self, *, pixels: int, channels: int = 256, cameras: int = CAMERA_NUMBERS, frame_channels: int = 3
    ) -> None:
        super().__init__(pixels=pixels, channels=channels, cameras=cameras, frame_channels=frame_channels)
        self.output = Grid(channels)

    def forward(self, frames: Tensor, cameras: Tensor) -> Tensor:
        return super().forward(frames, cameras).mean(dim=(2, 3), keepdim=True)


Vision = type[Pyramid] | type[Tower] | type[VolumeEncoder]
REPRESENTATIONS: dict[str, Vision] = {
    "pyramid": Pyramid,
    "tower": Tower,
    "pool": Pool,
    "volume": VolumeEncoder,
}

"""Default scenes for a user who names none: drawn, written as records, and converted like DeepMind's."""

from pathlib import Path

from gqn.core.checked import checked
from gqn.data.convert import convert
from gqn.data.generate import generate


@checked
def made_scenes(directory: Path, *, scenes: int = 10_000, size: int = 32, workers: int | None = None) -> Path:
    """Draw and convert Shepard-Metzler objects with cameras all round, as published; made only once.

    Args:
        directory: folder of all datasets.
        scenes: training scenes; 256 test scenes and their twins come to them.
        size: height and width of a frame in pixels.
        workers: processes, by default as many as there are cores.

    Returns:
        The dataset's folder, ready to train on; its name says what it holds.

    Raises:
        DatasetError: where the folder holds another dataset or another run is at work there.
    """
    folder = generate(
        "shepard_metzler_5_parts",
        directory,
        scenes,
        seed=0,
        name=f"shepard_metzler_5_parts_{size}",
        test_scenes=256,
        twins=True,
        size=size,
        workers=workers,
    )
    convert(folder, 100, workers=workers)
    return folder

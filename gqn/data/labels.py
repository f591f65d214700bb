"""The ground truth of scenes that we draw ourselves, joined to their shards."""

import json
import os
from pathlib import Path
from typing import Any

from gqn.core.checked import checked
from gqn.data.dataset import DatasetError, labels_file, read_index


@checked
def scene_labels(
    directory: str | os.PathLike[str], split: str, records: str | os.PathLike[str] | None = None
) -> list[dict[str, Any]]:
    """Return the ground truth of each scene of a converted dataset.

    Args:
        directory: the dataset's folder, with `torch/SPLIT/index.json`.
        split: "train" or "test".
        records: the folder with the TFRecords and the labels beside them, where that is another.

    Returns:
        A list whose entry i is of `SceneDataset(directory, split).scene(i)`; of a dataset that is a fraction, scene i
        has entry `position(i)`. An entry holds objects with shape, colour, position, rotation (a quaternion, w first)
        and size, the light, and for the arm its joints, hand and target, in world units and radians.

    Raises:
        DatasetError: where labels are missing, damaged or of other records.
    """
    index_path = Path(directory) / "torch" / split / "index.json"
    try:
        index = read_index(index_path)
    except FileNotFoundError:
        raise DatasetError(f"{index_path}: not there: convert the dataset first, see data.sh") from None
    labels: list[dict[str, Any]] = []
    for file in index.files:
        path = labels_file(Path(records or directory) / split / file.name)
        try:
            entries = json.loads(path.read_text())
        except FileNotFoundError:
            raise DatasetError(
                f"{path}: not there: only scenes drawn by scripts/generate-scenes.py have labels"
            ) from None
        except (ValueError, RecursionError) as error:
            raise DatasetError(f"{path}: damaged ({error}): remove it and draw the scenes again") from error
        if not isinstance(entries, list):
            raise DatasetError(f"{path}: damaged (no list of entries): remove it and draw the scenes again")
        if len(entries) != file.records:
            raise DatasetError(f"{path}: {len(entries)} entries for {file.records} records of {file.name}")
        labels += entries
    return labels

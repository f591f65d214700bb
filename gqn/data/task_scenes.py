"""Scenes of the arm in memory, with the answers to its tasks: small data that hundreds of short runs read."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gqn.core.camera import camera_vector
from gqn.core.files import save_tensors
from gqn.core.progress import Progress
from gqn.data.dataset import DatasetError, SceneDataset
from gqn.data.labels import scene_labels
from gqn.data.workers import dropped_pool, quiet_start
from gqn.scenes.arm import TASKS

PIECE = 50  # scenes that a process solves at once


@dataclass(frozen=True)
class TaskScenes:
    """One split of a drawn dataset of the arm, n scenes of v views."""

    frames: Tensor  # uint8 (n, v, 3, h, w)
    cameras: Tensor  # (n, v, k)
    labels: Sequence[Mapping[str, Any]]  # the ground truth, of each scene
    answers: Mapping[str, Tensor]  # what networks learn of each task, (n, numbers); NaN where there is no answer

    @classmethod
    def read(cls, directory: str | os.PathLike[str], split: str, tasks: Sequence[str], cache: Path) -> "TaskScenes":
        """Return a converted split; folder `cache` keeps the answers, which take minutes. Raises DatasetError."""
        scenes, labels = SceneDataset(directory, split), scene_labels(directory, split)
        if not all(scene.get("joints") and scene.get("objects") for scene in labels):
            raise DatasetError(
                f"{directory}: no scenes of the arm with its target: draw some by scripts/generate-scenes.py jaco DIR "
                "--scenes N --seed S, and convert them"
            )
        frames, recorded = zip(*(scenes.scene(number) for number in range(len(scenes))), strict=True)
        description = json.loads((Path(directory) / "dataset.json").read_text())
        answers = {name: true_answers(name, labels, cache / f"{name}-{split}.pt", description) for name in tasks}
        return cls(torch.stack(frames), camera_vector(torch.stack(recorded)), labels, answers)

    @cached_property
    def state(self) -> Tensor:
        """State from which all answers follow, (n, s): sines and cosines of the joints, and the target's place."""
        joints = np.array([scene["joints"] for scene in self.labels])
        target = np.array([scene["objects"][0]["position"] for scene in self.labels])
        return torch.from_numpy(np.concatenate([np.sin(joints), np.cos(joints), target], axis=1)).float()

    def __len__(self) -> int:
        return len(self.labels)


def true_answers(task: str, labels: Sequence[Mapping[str, Any]], file: Path, description: Mapping[str, Any]) -> Tensor:
    """Return the answers that networks learn (`gqn.scenes.arm.Task.encode`), (n, numbers); NaN where there is none.

    They are kept in a file for the next time; a file whose scenes have another `description` is made anew.
    """
    about = {"scenes": len(labels), "dataset": description}
    if file.exists():
        kept = torch.load(file, weights_only=True)
        if kept["about"] == about:
            return kept["answers"]
    pieces = [labels[first : first + PIECE] for first in range(0, len(labels), PIECE)]
    if len(pieces) == 1:  # sooner done than a process starts
        found = solve_piece(task, labels)
    else:
        with dropped_pool(min(os.cpu_count() or 1, len(pieces))) as pool:
            with quiet_start():
                solved = [pool.submit(solve_piece, task, piece) for piece in pieces]
            found = [
                answer for future in Progress(solved, f"answers of {task}", unit="pieces") for answer in future.result()
            ]
    numbers = next(len(answer) for answer in found if answer is not None)
    answers = torch.tensor([[float("nan")] * numbers if answer is None else answer for answer in found])
    file.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(file, {"about": about, "answers": answers})
    return answers


def solve_piece(task: str, labels: Sequence[Mapping[str, Any]]) -> list[list[float] | None]:
    """Return the answers to a task for some scenes, as networks learn them; None where there is none."""
    answers = [TASKS[task].label(scene) for scene in labels]
    return [None if answer is None else TASKS[task].encode(np.asarray(answer)).tolist() for answer in answers]

"""Generative Query Networks: scene representations that are learned by rendering.

What a notebook needs stands here by name; each name is imported when it is first used, so that a process which only
reads records need not load the networks.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "gqn.evaluation.report": ["assess"],
    "gqn.core.views": ["Batch", "Views"],
    "gqn.core.camera": ["camera_vector", "look_at", "orbit", "recorded_camera"],
    "gqn.training.checkpoint": ["load"],
    "gqn.training.config": ["PRESETS", "Config"],
    "gqn.data.batches": ["TrainingBatches", "evaluation_batches"],
    "gqn.data.convert": ["convert"],
    "gqn.data.dataset": ["DATASETS", "SceneDataset"],
    "gqn.data.generate": ["generate"],
    "gqn.data.labels": ["scene_labels"],
    "gqn.data.prepare": ["made_scenes"],
    "gqn.training.validation": ["evaluate", "mean_image"],
    "gqn.models.gqn": ["GenerativeQueryNetwork"],
    "gqn.models.heads": ["HEADS", "Answer", "Head"],
    "gqn.figures.predictions": ["canvases", "flight", "predictions"],
    "gqn.models.graph": ["RecursiveGQN"],
    "gqn.scenes": ["FAMILIES"],
    "gqn.evaluation.subject": ["Options"],
    "gqn.training.trainer": ["train"],
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}
__all__ = ["__version__", *_MODULE]


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE[name]), name)


def __dir__() -> list[str]:
    return __all__

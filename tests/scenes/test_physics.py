"""Scenes are drawn without OpenGL: whatever MUJOCO_GL says is none of their business."""

import os
import subprocess
import sys

import pytest
from conftest import REPOSITORY


@pytest.mark.parametrize("screen", ["egl", "osmesa", "glfw", "nonsense", "", "disable"])
def test_scenes_are_drawn_whatever_screen_is_named(screen: str) -> None:
    draw = (
        "import os, numpy as np; from gqn.scenes import FAMILIES;"
        "FAMILIES['shepard_metzler_5_parts'](size=4, views=1).scene(np.random.default_rng(0));"
        "print(os.environ['MUJOCO_GL'])"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "MUJOCO_GL": screen}
    run = subprocess.run([sys.executable, "-c", draw], env=environment, capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stdout) == (0, f"{screen}\n"), run.stderr

"""Scenes are drawn without OpenGL: whatever MUJOCO_GL says is none of their business."""

import os
import subprocess
import sys

from conftest import REPOSITORY

DRAW = """
import os, sys, torch  # once for all
import numpy as np
for screen in sys.argv[1:]:
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0, screen
        continue
    os.environ["MUJOCO_GL"] = screen
    from gqn.scenes import FAMILIES
    FAMILIES["shepard_metzler_5_parts"](size=4, views=1).scene(np.random.default_rng(0))
    assert os.environ["MUJOCO_GL"] == screen
    break
else:
    print("drawn")
"""


def test_scenes_are_drawn_whatever_screen_is_named() -> None:
    command = [sys.executable, "-c", DRAW, "egl", "osmesa", "glfw", "nonsense", "", "disable"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stdout) == (0, "drawn\n"), run.stderr

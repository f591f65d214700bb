"""MuJoCo, which draws our scenes without OpenGL: `from gqn.scenes.physics import mujoco`."""

import os

try:
    import mujoco
except Exception:
    # With OpenGL's libraries beside it, its import looks for the screen that MUJOCO_GL names, and dies without one.
    named = os.environ.get("MUJOCO_GL")
    os.environ["MUJOCO_GL"] = "disable"
    try:
        import mujoco
    finally:
        os.environ.pop("MUJOCO_GL")
        if named is not None:
            os.environ["MUJOCO_GL"] = named

__all__ = ["mujoco"]

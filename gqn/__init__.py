"""Generative Query Networks: scene representations that are learned by rendering.

Each public name is imported when it is first used, so a process that only reads records need not load the networks.
`__init__.pyi` lists the names and where they live; editors and type checkers read it too.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]

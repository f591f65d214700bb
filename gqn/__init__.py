"""Generative Query Networks: scene representations that are learned by rendering, and graphs of them."""

__version__ = "0.1.0"

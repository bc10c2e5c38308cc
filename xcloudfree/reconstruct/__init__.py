"""Reconstruction of what clouds hide: one call, lazy where the scene is."""

from xcloudfree.reconstruct.pipeline import reconstruct

__all__ = ["reconstruct"]

"""Reconstruction of occluded pixels: one call, lazy for lazy scenes."""

from xcloudfree.reconstruct.pipeline import reconstruct

__all__ = ["reconstruct"]

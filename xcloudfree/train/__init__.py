"""Fitting a model from the same arrays that it will reconstruct."""

from xcloudfree.train.loop import fit

__all__ = ["fit"]

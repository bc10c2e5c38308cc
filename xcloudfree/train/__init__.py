"""Fit a model on the same arrays that it will reconstruct."""

from xcloudfree.train.fitting import fit
from xcloudfree.train.recipe import Recipe
from xcloudfree.train.splits import Split, check_apart, split, split_series

__all__ = ["Recipe", "Split", "check_apart", "fit", "split", "split_series"]

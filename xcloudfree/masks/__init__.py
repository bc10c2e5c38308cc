"""Cloud and shadow masks, cloud scores, and the weights of the loss.

:mod:`~xcloudfree.masks.masking` has the public calls, :mod:`~xcloudfree.masks.resolve` turns a
name or an array into a plan, :mod:`~xcloudfree.masks.plan` computes it inside a block, and
:mod:`~xcloudfree.masks.scores` contains the built-in methods on plain arrays.
"""

from xcloudfree.masks.masking import mask, score
from xcloudfree.masks.shares import clearness

__all__ = ["clearness", "mask", "score"]

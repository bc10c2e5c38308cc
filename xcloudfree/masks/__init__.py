"""What clouds and their shadow hide: scores, masks and the weights of the loss."""

from xcloudfree.masks.masking import mask, score

__all__ = ["mask", "score"]

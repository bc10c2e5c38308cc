"""A catalog on your own machine, for trials."""

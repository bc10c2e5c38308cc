"""Weights that authors published, as models of this library."""

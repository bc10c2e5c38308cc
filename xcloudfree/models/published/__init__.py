"""Published weights as models of this library."""

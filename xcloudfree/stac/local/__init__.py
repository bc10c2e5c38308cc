"""A catalog on this machine, to try things with."""

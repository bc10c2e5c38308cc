"""Rules of providers and collections, and the meaning of an item's pixels."""

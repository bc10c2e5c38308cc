"""Search for items of a catalog that match the query."""

"""Items of a catalog that really lie in the query."""

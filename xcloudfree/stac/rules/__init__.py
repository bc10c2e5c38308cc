"""What is known of providers and collections, and what an item says of its pixels."""

"""The matcher folder, which a product loads, and what is done with it."""

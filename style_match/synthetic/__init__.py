"""The drawn people."""

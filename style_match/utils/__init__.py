"""Errors, files, progress: nothing that knows the domain."""

"""Metadata of photos by a labeler."""

"""Losses over (embeddings, labels, side)."""

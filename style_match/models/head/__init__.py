"""Heads: features to embeddings of unit length."""

"""Heads: features (B, D) to embeddings (B, E) of unit length."""

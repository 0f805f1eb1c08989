"""Matches profile photos: frozen Qwen3-VL features, a small trained head, cosine similarity."""

__version__ = "0.1.0"

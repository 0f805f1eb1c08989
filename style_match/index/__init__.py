"""Nearest profiles among many: exact, FAISS, Qdrant; imports no torch."""

from style_match.index.base import Index
from style_match.index.known import delete_everywhere, known_indexes
from style_match.index.opening import open_or_build

__all__ = ["Index", "delete_everywhere", "known_indexes", "open_or_build"]

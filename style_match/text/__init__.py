"""Texts and photos in one space: captions, their features, the term that trains on them, the path that serves."""

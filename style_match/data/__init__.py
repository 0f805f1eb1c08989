"""A dataset folder: its tables, photos, metadata and split, validated before any model is loaded."""

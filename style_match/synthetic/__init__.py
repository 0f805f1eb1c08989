"""Synthetic people: a world of tastes, drawn photos, descriptions, demo datasets."""

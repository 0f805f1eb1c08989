"""Ranks, metrics, intervals, tables and t-SNE. Knows tensors and ids, no config."""

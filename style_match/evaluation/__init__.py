"""Retrieval evaluation: exact ranks, metrics with clustered intervals, and the table of a run.

Start at `evaluator.Evaluator`. Shape suffixes: Q queries, G gallery, N profiles, C couples (in `intervals`: clusters),
E embedding dimension, K values of k, M metrics.
"""

"""Batch samplers: couples, classes, plain."""

"""Losses of metric learning."""

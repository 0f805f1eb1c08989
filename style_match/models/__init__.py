"""Heads, losses and the LightningModule."""

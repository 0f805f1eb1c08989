"""Labelers: who answers what a schema asks about a photo, and the ledger that keeps every answer."""

"""Command line and sweeps."""

"""Batch samplers: which training items stand together. Each yields lists of positions and has `set_epoch`."""

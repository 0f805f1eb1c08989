"""Synthetic profile photos: figures drawn with Pillow, whose couples share a latent taste. Nobody here is real."""

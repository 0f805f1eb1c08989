"""Dataset folder, images, prompts, splits, samplers and the data module."""

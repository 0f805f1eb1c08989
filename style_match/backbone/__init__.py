"""Frozen vision-language models that turn photos and prompts into features."""

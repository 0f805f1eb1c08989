"""From raw photos to a dataset folder: sources, labels, copies, what is left out, and what is written."""

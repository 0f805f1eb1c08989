"""Pictures of a run: the embeddings in two dimensions, the training curves, and the page that shows them all."""

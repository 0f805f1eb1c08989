"""Indexes of profile embeddings: exact (numpy), FAISS, Qdrant."""

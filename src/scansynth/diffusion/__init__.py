"""The variance-preserving process, its objective, and what solves it."""

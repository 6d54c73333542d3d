"""One run from references to results, and how it ends."""

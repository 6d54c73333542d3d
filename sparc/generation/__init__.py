"""What a model says, and what scorers say of it."""

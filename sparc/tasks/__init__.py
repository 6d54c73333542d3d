"""What is asked of a model: its reference samples, prompts and texts."""

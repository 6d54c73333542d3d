"""Behaviours from files: one's own prompts, toxicity, repetition."""

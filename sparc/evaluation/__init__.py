"""Measuring a model: perplexity, completions, scorers, repetition, statistics, verdict."""

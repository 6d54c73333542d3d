"""Causal language models: loading them, and where their MLP neurons live."""

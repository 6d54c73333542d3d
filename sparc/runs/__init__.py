"""Saved runs: what their folders hold, read without trust."""

from sparc.runs.folder import Run

__all__ = ["Run"]

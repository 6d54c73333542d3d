"""Runs: what their folders hold, written whole and read without trust."""

from sparc.runs.folder import Run

__all__ = ["Run"]

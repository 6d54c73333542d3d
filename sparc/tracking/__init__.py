"""Runs in W&B: live where it is asked for, or after the fact from a run directory."""

from sparc.tracking.tracker import Tracker

__all__ = ["Tracker"]

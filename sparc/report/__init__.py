"""report.html: what a run found, in one file that opens without a network."""

from sparc.report.page import render

__all__ = ["render"]

"""report.html: what a run found, in one file that opens without a network."""

from sparc.report.page import figures, render

__all__ = ["figures", "render"]

"""sparc: find, remove and measure the parameters that carry an undesired behaviour (SparC3)."""

__version__ = "0.1.0"

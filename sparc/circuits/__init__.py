"""Circuits of several runs beside each other: which neurons they share, and how often by chance."""

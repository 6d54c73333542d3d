"""What a sweep found: its jobs, one row each, and its points, the means over seeds."""

"""From scores to removed neurons: contrast, selection, removal."""

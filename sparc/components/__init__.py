"""Components of a model: their scores, selections and removal."""

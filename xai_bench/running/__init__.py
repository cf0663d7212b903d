"""From a study to its results: what is computed, in which order, on what."""

"""An explainer and a metric of one's own for xai_bench."""

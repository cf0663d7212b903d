"""Metrics and summaries: one, or one tight family, a file."""

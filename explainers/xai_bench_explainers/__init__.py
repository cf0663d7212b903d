"""Explainers: one method, or one tight family, a file."""

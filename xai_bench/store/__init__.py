"""Cells on disk: what they are, what names them, whether they are sound."""

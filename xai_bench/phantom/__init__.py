"""Procedurally drawn spine films with exact truth: geometry of the column, what surrounds it, exposure and side markers."""

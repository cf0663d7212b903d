"""Datasets: one a file. Each yields samples and splits by patient."""

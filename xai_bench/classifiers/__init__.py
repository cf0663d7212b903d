"""Classifiers: architectures by name, training, checkpoints."""

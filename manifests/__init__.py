"""Checkpoints: values as trees of objects, manifests, history, the repository."""

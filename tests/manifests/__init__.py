"""Tests of checkpoints: values, trees, manifests, the repository."""

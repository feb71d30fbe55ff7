"""Bytes: content-addressed objects in one LMDB environment."""

"""Tests of the bytes: digests, objects, the store."""

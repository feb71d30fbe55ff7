"""Measurements of Hive; each is a plain program that prints its numbers."""

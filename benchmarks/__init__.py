"""Measurements of Hive beside what its users would take instead (``make bench``)."""

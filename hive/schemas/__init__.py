"""Pydantic schemas that people configure Hive with."""

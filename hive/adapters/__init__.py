"""Hive behind the interfaces of agent frameworks; each in a package of its own, with an extra."""

"""Tests of what people and frameworks use: manager, executors, command line."""

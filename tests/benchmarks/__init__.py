"""Tests of the benchmarks: each runs, in the smallest size, and measures what it says."""

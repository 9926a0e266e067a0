"""Benchmarks of the program."""

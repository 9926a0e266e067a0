"""Benchmarks: this program beside other tools (`python -m bench`), and the phases of one of its commands."""

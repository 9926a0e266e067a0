"""Observation and analysis of a canary."""

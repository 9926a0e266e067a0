"""The tools of the testbed: which ones, in which version, and how they are installed."""

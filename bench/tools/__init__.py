"""The tools that are measured, one a file, each with the same interface (`tool.py`)."""

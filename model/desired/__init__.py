"""The desired objects of a stack as plain data."""

"""The settings of a stack: config keys, values and problems."""

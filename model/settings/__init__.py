"""The stack config as typed settings, one module per config key; `stack.py` is the whole."""

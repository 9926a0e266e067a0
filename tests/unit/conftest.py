"""Generated tests have no deadline: on a busy machine a single example can take long.

`make test-mutants` runs them for each mutant: few examples, the same ones every time.
"""

from hypothesis import settings

settings.register_profile("no deadline", deadline=None)
settings.register_profile("mutants", deadline=None, derandomize=True, max_examples=20, database=None)
settings.load_profile("no deadline")

"""Generated tests have no deadline: on a busy machine a single example can take long."""

from hypothesis import settings

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

"""docs/rollout.md is generated."""

from docgen.rollout_reference import reference
from testbed.environment import PROJECT


def test_the_reference_is_up_to_date() -> None:
    assert (PROJECT / "docs/rollout.md").read_text() == reference(), "run `make docs`"

"""docs/promises.md is generated, and its tests exist."""

import pytest

from docgen.promises import PROMISES, page
from testbed.environment import PROJECT


def test_the_page_is_up_to_date() -> None:
    assert (PROJECT / "docs/promises.md").read_text() == page(), "run `make docs`"


@pytest.mark.parametrize("test", [test for tests in PROMISES.values() for test in tests])
def test_each_test_exists(test: str) -> None:
    path, _, name = test.partition("::")
    file = PROJECT / "tests" / path
    assert file.exists()
    assert not name or f"\ndef {name}(" in file.read_text()

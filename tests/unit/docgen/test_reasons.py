"""Every rejection and every warning has a reason, and docs/reasons.md has all of them."""

import re

from docgen.reasons import ROOT, page, reasons


def test_no_rejection_and_no_warning_lacks_a_reason() -> None:
    found = list(reasons())
    assert len(found) > 120
    assert not [f"{reason.where}: {reason.text}" for reason in found if not reason.name]


def test_reasons_are_in_camel_case() -> None:
    literal = {reason.name for reason in reasons() if reason.name and not reason.name.startswith("(")}
    assert not [name for name in literal if not re.fullmatch(r"([A-Z][a-z0-9]*)+|.*(IP|RSA|IPv4).*", name)]


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs/reasons.md").read_text() == page(), "run `make docs`"

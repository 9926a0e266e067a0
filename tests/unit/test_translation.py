"""README.zh-CN.md has the same headings, commands and links as README.md."""

import re

from testbed.environment import PROJECT

EACH_OTHER = {"README.md", "README.zh-CN.md"}


def sections(name: str) -> list[str]:
    """The text before the first heading, and each heading with its text."""
    text = (PROJECT / name).read_text()
    code = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
    # A line that begins with # in a code block is no heading.
    hidden = code.sub(lambda match: match[0].replace("\n#", "\n\0"), text)
    return [part.replace("\0", "#") for part in re.split(r"(?m)^(?=#+ )", hidden)]


def level(section: str) -> int:
    """The number of # of its heading."""
    return len(section) - len(section.lstrip("#"))


def commands(section: str) -> list[str]:
    """The lines of its code blocks, without comments."""
    blocks = re.findall(r"^```.*?^```", section, re.DOTALL | re.MULTILINE)
    return [re.sub(r"\s+#.*", "", line) for block in blocks for line in block.splitlines()]


def links(section: str) -> list[str]:
    return sorted(set(re.findall(r"\]\(([^)\s]+)\)", section)) - EACH_OTHER)


def figures(section: str) -> list[str]:
    """The cells of its tables that have a figure and no words."""
    rows = [line.split("|") for line in section.splitlines() if line.startswith("|")]
    return [cell.strip() for row in rows for cell in row if re.fullmatch(r"\s*[\d.]+ ?s\s*", cell)]


def test_the_chinese_readme_says_what_the_english_one_does() -> None:
    english, chinese = sections("README.md"), sections("README.zh-CN.md")
    assert [level(part) for part in chinese] == [level(part) for part in english]
    for ours, theirs in zip(english, chinese, strict=True):
        title = ours.splitlines()[0] if ours else ""
        assert commands(theirs) == commands(ours), title
        assert links(theirs) == links(ours), title
        assert figures(theirs) == figures(ours), title

"""The grammar of srs.conf: text to directives, and back.

A parser of our own, because SRS's lexer (`SrsConfDirective::read_token` in ossrs/srs, trunk/src/app/srs_app_config.cpp,
4.0.5 to 6.0.157) only resembles nginx's: a brace ends a block only where a word could begin (`on}` is a word), nothing
escapes a quote, an empty quoted word is dropped, from 5.0 on a directive must end on its line, and in 6.0 a carriage
return ends a comment, too. Parsers for nginx, such as crossplane, read another tree.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Directive:
    """A directive: `name args;` or `name args { block }`; block: None without braces.

    line, source: where it begins: the number of the line, from 1, and the text as its owner names it; 0 and "" for what
    the program writes itself.
    """

    name: str
    args: tuple[str, ...] = ()
    block: tuple["Directive", ...] | None = None
    line: int = field(default=0, compare=False)
    source: str = field(default="", compare=False)

    def get(self, name: str) -> "Directive | None":
        """The directive of this name in the block: SRS uses the first one."""
        return next((inner for inner in self.block or () if inner.name == name), None)

    def is_on(self, name: str = "enabled") -> bool:
        """Whether `name on;` is in the block."""
        found = self.get(name)
        return found is not None and found.args[:1] == ("on",)


def block(name: str, *inner: Directive, args: Sequence[str] = ()) -> Directive:
    """A directive with a block."""
    return Directive(name, tuple(args), tuple(inner))


def line(text: str) -> Directive:
    """A directive without a block, from its words."""
    name, *args = text.split(" ")
    return Directive(name, tuple(args))


def walk(directives: Iterable[Directive]) -> Iterator[Directive]:
    """All directives, with those in blocks."""
    for directive in directives:
        yield directive
        yield from walk(directive.block or ())


REASONS = {
    "SrsConfSyntax": "srs.conf is not in SRS's syntax, or not the same in all versions",
    "UnknownDirective": "no SRS version knows the directive in this block, and SRS would not start",
    "DirectiveOfLaterVersion": "the SRS version of the image does not know the directive yet, and would not start",
    "DirectiveOfEarlierVersion": "the SRS version of the image does not know the directive any more",
    "InvalidDirectiveValue": "the value is none that SRS understands; SRS would read it as 0, or as the default",
    "RepeatedDirective": "the block has the directive twice, and SRS uses the first one only, or does not start",
    "DirectiveInWrongPlace": "SRS would discard the block of the directive where it is",
    "DirectiveOfTheProgram": "the program writes the directive itself, with another value",
    "HarmfulDirective": "SRS would serve no viewer, expose the pod, or not start, while its pod may be ready",
    "UnknownSecret": "`$(name)` is not in `srs:secrets`",
}
"""What can be wrong in an srs.conf, by the reason of its findings."""


@dataclass(frozen=True)
class Finding:
    """What is wrong in a text.

    message: continues a sentence that begins with the line. source: as in `Directive`. reason: one of `REASONS`.
    """

    line: int
    message: str
    source: str = ""
    reason: str = "SrsConfSyntax"


MAX_FINDINGS = 100
"""Findings after which a text is not read any further."""

MAX_DEPTH = 20
"""Blocks in blocks; SRS has at most five (`vhost`, `transcode`, `engine`, `vparams` and a directive)."""

_SPACE = " \t\r\n"
_TOKEN = re.compile(
    rf"""(?P<space>[{_SPACE}]+) | (?P<comment>\#[^\n]*) | "(?P<double>[^"]*)" | '(?P<single>[^']*)'
    | (?P<mark>[;{{}}]) | (?P<word>[^{_SPACE};{{}}\#"'][^{_SPACE};{{]*)""",
    re.VERBOSE,
)
_PLAIN = re.compile(rf"""[^{_SPACE};{{}}\#"'][^{_SPACE};{{]*""")


def parse(text: str, source: str = "") -> tuple[tuple[Directive, ...], list[Finding]]:
    """Parse a text, or a part of one, to directives; with everything that SRS would not parse."""
    parser = _Parser(text, source)
    return parser.directives(), sorted(parser.findings, key=lambda finding: finding.line)


class _Parser:
    def __init__(self, text: str, source: str) -> None:
        self.findings: list[Finding] = []
        self._open: list[tuple[Directive, list[Directive]]] = []
        self._root: list[Directive] = []
        self._words: list[str] = []
        self._start = 0  # line of the first word
        self._line = 1
        self._text = text
        self._source = source

    def directives(self) -> tuple[Directive, ...]:
        previous = ""
        for kind, value in self._tokens():
            if previous == "quoted" and (kind in ("word", "quoted", "comment") or value == "}"):
                self._report("has a quote that is not followed by a space, ';' or '{'")
            if kind == "space":
                self._space(value)
            elif kind == "mark":
                self._mark(value)
            elif kind in ("word", "quoted"):
                self._word(kind, value)
            elif "\r" in value.removesuffix("\r"):
                self._report(r"has a comment that SRS 6.0 ends at a carriage return (\r): remove it")
            self._line += value.count("\n")
            previous = kind
        if self._words:
            self._report(f"has no ';' at the end of {_name(self._words[0])}", self._start)
        while self._open:
            self._report("has a '{' that is not closed", self._open[-1][0].line)
            self._close()
        return tuple(self._root)

    def _tokens(self) -> Iterator[tuple[str, str]]:
        position = 0
        while position < len(self._text) and len(self.findings) < MAX_FINDINGS:
            match = _TOKEN.match(self._text, position)
            if match is None:
                self._report("has a quote that is not closed")
                self._words = []
                return
            position = match.end()
            kind = str(match.lastgroup)
            yield ("quoted" if kind in ("double", "single") else kind), match[kind]

    def _report(self, message: str, line: int = 0) -> None:
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(line or self._line, message, self._source))

    def _word(self, kind: str, value: str) -> None:
        if any(character < " " or character == "\x7f" for character in value.replace("\t", " ")):
            self._report("has a control character or the end of the line inside a word or quotes")
        if not self._words:
            self._start = self._line
        if value or kind == "word":
            self._words.append(value)

    def _space(self, value: str) -> None:
        if self._words and ("\n" in value or "\r" in value):
            rest = self._text.split("\n")[self._line :]
            lines = (line.strip(_SPACE) for line in rest)
            following = next((line for line in lines if line and not line.startswith("#")), "")
            name = _name(self._words[0])
            self._report(f"must end {name} with ';' or '{{': SRS 5.0 and later read no directive over two lines")
            if not following.startswith(("{", ";")):
                self._add(self._directive())

    def _mark(self, mark: str) -> None:
        if mark == "}":
            if self._words:
                self._report(f"has no ';' at the end of {_name(self._words[0])}", self._start)
                self._words = []
            if self._open:
                self._close()
            else:
                self._report("has a '}' without a '{'")
        elif not self._words:
            self._report(f"has {mark!r} without a directive before it")
            if mark == "{":
                self._open.append((Directive("", line=self._line), []))
        elif mark == ";":
            self._add(self._directive())
        elif len(self._open) < MAX_DEPTH:
            self._open.append((self._directive(), []))
        else:
            if len(self._open) == MAX_DEPTH:
                self._report(f"has more than {MAX_DEPTH} blocks in blocks")
            self._words = []
            self._open.append((Directive("", line=self._line), []))

    def _directive(self) -> Directive:
        name, *args = self._words
        self._words = []
        return Directive(name, tuple(args), None, self._start, self._source)

    def _add(self, directive: Directive) -> None:
        (self._open[-1][1] if self._open else self._root).append(directive)

    def _close(self) -> None:
        directive, inner = self._open.pop()
        if directive.name:
            self._add(replace(directive, block=tuple(inner)))


_IDENTIFIER = re.compile(r"[a-z0-9_]{1,32}")


def _name(word: str) -> str:
    """A directive as messages name it; a word that is no name may be a secret."""
    return repr(word) if _IDENTIFIER.fullmatch(word) else "a directive"


def render(statements: Sequence[Directive | str], indent: str = "") -> str:
    """The text of directives, from which `parse` reads the same ones. statements: directives, and lines of text."""
    text = ""
    for directive in statements:
        if isinstance(directive, str):
            text += f"{indent}{directive}\n"
            continue
        words = " ".join(_quoted(word) for word in (directive.name, *directive.args))
        if directive.block is None:
            text += f"{indent}{words};\n"
        else:
            text += f"{indent}{words} {{\n{render(directive.block, indent + '    ')}{indent}}}\n"
    return text


def _quoted(word: str) -> str:
    if _PLAIN.fullmatch(word):
        return word
    return f"'{word}'" if '"' in word else f'"{word}"'

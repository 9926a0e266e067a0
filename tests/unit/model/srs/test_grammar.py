"""srs.conf is read as SRS reads it, and what is rendered is read as the same directives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.srs.grammar import Directive, block, line, parse, render

words = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=8).filter(
    lambda word: not ('"' in word and "'" in word)
)
directives = st.recursive(
    st.builds(Directive, words, st.lists(words, max_size=3).map(tuple)),
    lambda inner: st.builds(
        Directive, words, st.lists(words, max_size=2).map(tuple), st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=8,
)


@given(st.lists(directives, max_size=4).map(tuple))
def test_what_is_rendered_is_read_again(tree: tuple[Directive, ...]) -> None:
    assert parse(render(tree)) == (tree, [])


@given(st.text(st.sampled_from("a1;{}\"'# \n\t"), max_size=20))
def test_any_text_is_read_or_rejected(text: str) -> None:
    tree, findings = parse(text)
    if not findings:
        assert parse(render(tree)) == (tree, [])


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("", ()),
        ("# only a comment", ()),
        ("listen 1935;listen 1936;", (line("listen 1935"), line("listen 1936"))),
        ("vhost a{play{gop_cache off;}}", (block("vhost", block("play", line("gop_cache off")), args=["a"]),)),
        ('a "b; {c}" \'d "e"\';', (Directive("a", ("b; {c}", 'd "e"')),)),
        ("a b#c d} \"\" 'e';", (Directive("a", ("b#c", "d}", "e")),)),
        ("a [vhost]/[app]/[stream].flv;\r\n", (Directive("a", ("[vhost]/[app]/[stream].flv",)),)),
        ("a it's 5\"x;", (Directive("a", ("it's", '5"x')),)),
        ("a { }", (block("a"),)),
    ],
)
def test_texts_as_srs_reads_them(text: str, tree: tuple[Directive, ...]) -> None:
    assert parse(text) == (tree, [])


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a b", [(1, "has no ';' at the end of 'a'")]),
        ("a {\n b c", [(1, "has a '{' that is not closed"), (2, "has no ';' at the end of 'b'")]),
        ("a { b c; }}", [(1, "has a '}' without a '{'")]),
        ("\n{ a; }", [(2, "has '{' without a directive")]),
        ("a;;", [(1, "has ';' without a directive")]),
        ("a\n{\n b;\n}", [(1, "must end 'a' with ';' or '{'")]),
        ("a b\nc d;\ne;", [(1, "must end 'a' with ';' or '{'")]),
        ("a \n \u2028", [(1, "must end 'a' with ';' or '{'"), (2, "has no ';' at the end of a directive")]),
        ("a b # ;\nc;", [(1, "must end 'a' with ';' or '{'")]),
        ('a "b;\nc;', [(1, "has a quote that is not closed")]),
        ("a 'b'c;", [(1, "has a quote that is not followed by a space")]),
        ("a 'b\nc';", [(1, "the end of the line inside a word or quotes")]),
        ("key=s3cret\nb;", [(1, "must end a directive with ';'")]),
    ],
)
def test_what_srs_does_not_read(text: str, lines: list[tuple[int, str]]) -> None:
    findings = parse(text)[1]
    assert [finding.line for finding in findings] == [number for number, _ in lines]
    for finding, (_, message) in zip(findings, lines, strict=True):
        assert message in finding.message
        assert "s3cret" not in finding.message

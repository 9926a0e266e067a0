"""Typed values: what is read, and that it is written back the way it was."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.config.values import format_duration, parse_duration, parse_image, seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5s", timedelta(seconds=5)),
        ("12h", timedelta(hours=12)),
        ("1h30m", timedelta(minutes=90)),
        ("0s", timedelta(0)),
        ("1.5s", timedelta(seconds=1.5)),
    ],
)
def test_durations(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    ("length", "text"),
    [
        ({"hours": 12}, "12h"),
        ({"minutes": 10}, "10m"),
        ({"seconds": 90}, "1m30s"),
        ({}, "0s"),
        ({"hours": 100}, "100h"),
    ],
)
def test_durations_are_written_shortly(length: dict[str, int], text: str) -> None:
    assert format_duration(timedelta(**length)) == text


@given(st.integers(0, 10**6))
def test_a_duration_comes_back_as_it_was(length: int) -> None:
    assert parse_duration(format_duration(timedelta(seconds=length))) == timedelta(seconds=length)


def test_parts_of_a_second_round_up() -> None:
    assert seconds(timedelta(milliseconds=1)) == 1


DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "name", "tag", "digest"),
    [
        ("ossrs/srs:v4.0.6", "ossrs/srs", "v4.0.6", None),
        ("srs:4", "srs", "4", None),
        ("localhost:5000/srs:4", "localhost:5000/srs", "4", None),
        (
            "registry.cn-hangzhou.aliyuncs.com/ossrs/srs:v4.0-r5",
            "registry.cn-hangzhou.aliyuncs.com/ossrs/srs",
            "v4.0-r5",
            None,
        ),
        (f"ossrs/srs@{DIGEST}", "ossrs/srs", None, DIGEST),
        (f"ossrs/srs:v4.0.6@{DIGEST}", "ossrs/srs", "v4.0.6", DIGEST),
    ],
)
def test_images(text: str, name: str, tag: str | None, digest: str | None) -> None:
    reference = parse_image(text)
    assert (reference.name, reference.tag, reference.digest) == (name, tag, digest)


@pytest.mark.parametrize(
    "text", ["", "a b:1", "ossrs//srs:1", ":1", "ossrs/srs:", "ossrs/srs@sha256:1", "-a:1", "a:-1"]
)
def test_what_is_no_image(text: str) -> None:
    with pytest.raises(ValueError, match="must be an image reference"):
        parse_image(text)

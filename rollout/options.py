"""Types of command-line options."""

import argparse
from collections.abc import Callable
from datetime import timedelta

from model.values import format_duration, parse_duration


def number(kind: type[int] | type[float], minimum: float, maximum: float = float("inf")) -> Callable[[str], float]:
    """A number within limits."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not minimum <= value <= maximum:
            limit = f" and at most {maximum:g}" if maximum < float("inf") else ""
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} must be {what} of at least {minimum:g}{limit}")
        return value

    return parse


def duration(minimum: timedelta = timedelta()) -> Callable[[str], timedelta]:
    """A duration as in the stack file, such as 5s or 10m."""

    def parse(text: str) -> timedelta:
        try:
            value = parse_duration(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} {error}") from error
        if value < minimum:
            raise argparse.ArgumentTypeError(f"{text!r} must be at least {format_duration(minimum)}")
        return value

    return parse

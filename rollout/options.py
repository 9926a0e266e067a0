"""Types of command-line options, and options that several verbs have."""

import argparse
import os
from collections.abc import Callable
from datetime import timedelta

from model.config.values import format_duration, parse_duration


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


def add_notify(parser: argparse.ArgumentParser) -> None:
    """Add --notify."""
    parser.add_argument(
        "--notify",
        metavar="URL",
        default=os.environ.get("ROLLOUT_NOTIFY", ""),
        help="webhook of DingTalk, Feishu or Slack that gets a message when the run waits, fails or ends (default: the "
        "environment variable ROLLOUT_NOTIFY); it is not recorded",
    )


def add_viewer_arguments(parser: argparse.ArgumentParser, viewers: int) -> None:
    """Options of verbs that let viewers watch."""
    count, watch = number(int, 1), timedelta(seconds=5)
    parser.add_argument(
        "--viewers", metavar="N", type=count, default=viewers, help=f"number of viewers (default: {viewers})"
    )
    parser.add_argument(
        "--watch",
        metavar="DURATION",
        type=duration(timedelta(seconds=1)),
        default=watch,
        help=f"how long each one watches (default: {format_duration(watch)})",
    )
    parser.add_argument(
        "--parallel", metavar="N", type=count, default=20, help="viewers at the same time (default: 20)"
    )

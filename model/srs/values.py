"""The values that directives of srs.conf take.

SRS checks hardly any value: it reads numbers by `atoi`, so that `ten` is 0, and switches by a comparison with `on` or
`off`, so that `yes` is the default (ossrs/srs, trunk/src/app/srs_app_config.cpp, 4.0.5 to 6.0.183). The pods are ready
then, and the release plays nothing, or not what the config says.
"""

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Words = Sequence[str]

INT_MAX = 2**31 - 1
"""The largest value of `int`, which `atoi` returns."""


@dataclass(frozen=True)
class ValueType:
    """What a directive takes. allowed: continues "must have". fits: whether its words are such a value."""

    allowed: str
    fits: Callable[[Words], bool]


def _one(fits: Callable[[str], bool]) -> Callable[[Words], bool]:
    return lambda words: len(words) == 1 and fits(words[0])


def _some(fits: Callable[[str], bool]) -> Callable[[Words], bool]:
    return lambda words: bool(words) and all(fits(word) for word in words)


def _choice(*choices: str) -> ValueType:
    return ValueType(
        f"one of {', '.join(choices)}" if len(choices) > 2 else " or ".join(choices), _one(choices.__contains__)
    )


def _whole(minimum: int, maximum: int, unit: str = "", why: str = "") -> ValueType:
    """A whole number. why: the reason of the limits."""
    limits = f"a whole number{unit and f' of {unit}'} from {minimum} to {maximum}{why and f': {why}'}"
    return ValueType(
        limits, _one(lambda word: bool(re.fullmatch(r"\d{1,10}", word)) and minimum <= int(word) <= maximum)
    )


def _number(minimum: float, maximum: float, unit: str = "", why: str = "") -> ValueType:
    limits = f"a number{unit and f' of {unit}'} from {minimum:g} to {maximum:g}{why and f': {why}'}"
    number = re.compile(r"\d{1,10}(\.\d{1,9})?")
    return ValueType(limits, _one(lambda word: bool(number.fullmatch(word)) and minimum <= float(word) <= maximum))


def _is_url(word: str) -> bool:
    return bool(re.match(r"https?://[^/?#\s]|\$\(", word))


def _is_endpoint(word: str) -> bool:
    return bool(re.fullmatch(r"(rtmp://)?([\w.$()-]+|\[[\da-fA-F:.]+\])(:\d{1,5})?(/\S*)?", word))


def _is_rule(words: Words) -> bool:
    if len(words) != 2 or words[0] not in ("play", "publish"):
        return False
    try:
        return words[1] == "all" or bool(ipaddress.ip_network(words[1], strict=False))
    except ValueError:
        return words[1].startswith("$(")


ValueName = Literal[
    "switch", "word", "words", "url", "urls", "path", "endpoints", "rule", "count", "positive", "chunk", "ack",
    "seconds", "seconds1", "fraction", "fraction1", "period", "network", "queue", "ms", "latency", "interval",
    "timeout", "ratio", "release_rate", "percent", "kbps", "jitter", "log_level", "log_level_v2", "ffmpeg_level",
    "on_error", "plan", "protocol", "port", "caster",
]  # fmt: skip

TYPES: dict[ValueName, ValueType] = {
    "switch": _choice("on", "off"),
    "word": ValueType("one word", _one(bool)),
    "words": ValueType("a value", bool),
    "path": ValueType("one path", _one(bool)),
    "url": ValueType("a URL that begins with http:// or https://", _one(_is_url)),
    "urls": ValueType("URLs that begin with http:// or https://", _some(_is_url)),
    "endpoints": ValueType("hosts with or without a port, such as 10.0.0.1:1935", _some(_is_endpoint)),
    "rule": ValueType("play or publish, and all, an IP address or a range such as 10.0.0.0/8", _is_rule),
    "count": _whole(0, INT_MAX),
    "positive": _whole(1, INT_MAX),
    "port": _whole(1, 65535),
    # SRS_CONSTS_RTMP_MIN_CHUNK_SIZE and _MAX_CHUNK_SIZE; outside of them, SRS prints a number as a text and crashes.
    "chunk": _whole(128, 65536, "bytes"),
    "ack": _whole(0, INT_MAX, "bytes"),
    "seconds": _whole(0, INT_MAX, "seconds"),
    "seconds1": _whole(1, INT_MAX, "seconds"),
    "fraction": _number(0, 86400, "seconds"),
    "fraction1": _number(0.1, 86400, "seconds"),
    # Read by atof or atoi, depending on the version; SRS does not start with 0.
    "period": _number(1, 86400, "seconds"),
    # SRS does not start with the index of an address that the pod does not have.
    "network": ValueType("0, the address of the pod", _one("0".__eq__)),
    "queue": _whole(1, 3600, "seconds", "SRS drops what is older from the queue of a slow viewer, all of it with 0"),
    "ms": _whole(0, INT_MAX, "milliseconds"),
    "latency": _whole(0, 10000, "milliseconds", "viewers receive media that much later"),
    "interval": _number(0, 10000, "milliseconds", "SRS sends no two packets within it"),
    "timeout": _whole(1000, INT_MAX, "milliseconds", "SRS drops a publisher that is silent for so long"),
    "ratio": _number(0.1, 100),
    "release_rate": _number(0, 10),
    "percent": _whole(0, 100, "per cent"),
    "kbps": _whole(0, INT_MAX, "kbit/s"),
    "jitter": _choice("full", "zero", "off"),
    "log_level": _choice("verbose", "info", "trace", "warn", "error", "off"),
    "log_level_v2": _choice("trace", "debug", "info", "warn", "error", "off"),
    "ffmpeg_level": _choice("quiet", "panic", "fatal", "error", "warning", "info", "verbose", "debug", "trace"),
    "on_error": _choice("ignore", "disconnect", "continue"),
    "plan": _choice("session", "segment"),
    "protocol": _choice("rtmp", "flv"),
    # SRS does not start with another one. rtsp: the first versions of 4.0; gb28181: where SRS is built with it.
    "caster": _choice("mpegts_over_udp", "flv", "gb28181", "rtsp"),
}
"""The kinds of values by the names that the table of directives uses."""

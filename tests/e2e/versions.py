"""The SRS version in an image, as SRS itself says it, and what it can do."""

from model.srs_version import Version, capabilities, format_version, parse_version


def version_of(image: str) -> str:
    """`4.0.6` for `ossrs/srs:v4.0.6`."""
    return format_version(_version(image))


def can_drain(image: str) -> bool:
    """Whether a graceful quit lets open connections finish."""
    return capabilities(_version(image)).drains


def tells_encoders(image: str) -> bool:
    """Whether an edge of this version cuts an encoder when it cannot forward to the origin any more."""
    version = _version(image)
    return version >= ((6, 0, 139) if version >= (6, 0, 0) else (5, 0, 214))


def _version(image: str) -> Version:
    version = parse_version(image.rpartition(":")[2])
    assert version is not None, f"{image}: its tag names no SRS version"
    return version

"""What an SRS version can do. Everything that depends on the version uses this table."""

import re
from dataclasses import dataclass

Version = tuple[int, int, int]
"""Major, minor, revision: 4.0.6 is (4, 0, 6)."""

# Tags of stable releases contain no revision; these are their revisions (the version header at the tag of
# ossrs/srs). 6.0-r0 is newer than 6.0.157, the last revision that was measured.
_STABLE: dict[tuple[int, int], tuple[int, ...]] = {
    (4, 0): (252, 253, 257, 265, 268, 271),
    (5, 0): (205, 208, 210, 213),
    (6, 0): (157,),
}

OLDEST: Version = (4, 0, 5)
"""The first version with `force_grace_quit` (ossrs/srs #1579)."""

UNSUPPORTED_MAJOR = 7
"""7.0 moves the RTMP directives into `rtmp {}` and replaces the origin cluster by a proxy."""


@dataclass(frozen=True)
class Capabilities:
    """What one SRS version can do.

    grace_start_wait: it knows the directive (4.0.5 does not start with it).
    drains: a graceful quit lets open connections finish. All of 5.0, and 6.0 before 6.0.132, drop every
        player within a second instead (ossrs/srs #3805).
    """

    grace_start_wait: bool
    drains: bool


def capabilities(version: Version) -> Capabilities:
    """The row of the table for a version."""
    return Capabilities(
        grace_start_wait=version >= (4, 0, 6),
        drains=version < (5, 0, 0) or version >= (6, 0, 132),
    )


def parse_version(text: str) -> Version | None:
    """Parse the SRS version of an image tag or a version string; None if it is not one exact version.

    `v4.0.6` and `4.0.6` are versions, `v5.0-r3` is a stable release with a known revision; `4`, `v4.0`,
    `develop` and the like are floating tags.
    """
    if exact := re.fullmatch(r"v?(\d+)\.(\d+)\.(\d+)", text):
        return int(exact[1]), int(exact[2]), int(exact[3])
    if stable := re.fullmatch(r"v?(\d+)\.(\d+)-r(\d+)", text):
        major, minor, release = int(stable[1]), int(stable[2]), int(stable[3])
        revisions = _STABLE.get((major, minor))
        if revisions:
            return major, minor, revisions[min(release, len(revisions) - 1)]
    return None


def check_supported(version: Version) -> None:
    """Raise ValueError for a version that this program cannot render an srs.conf for."""
    if version < OLDEST or version[0] >= UNSUPPORTED_MAJOR:
        raise ValueError(
            f"is SRS {format_version(version)}; supported are {format_version(OLDEST)} up to 6.x "
            "(older ones have no graceful quit, 7.0 has another configuration)"
        )


def format_version(version: Version) -> str:
    """`(4, 0, 6)` as `4.0.6`."""
    return ".".join(str(part) for part in version)

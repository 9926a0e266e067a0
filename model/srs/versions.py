"""What an SRS version can do, and what is broken in it. Everything that depends on the version uses this table."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

Version = tuple[int, int, int]
"""Major, minor, revision: 4.0.6 is (4, 0, 6)."""

# Tags of stable releases contain no revision; these are their revisions (the version header at the tag of ossrs/srs).
# A later release than the last known one counts as that one.
_STABLE: dict[tuple[int, int], tuple[int, ...]] = {
    (4, 0): (252, 253, 257, 265, 268, 271),
    (5, 0): (205, 208, 210, 213),
    (6, 0): (184, 191),
}

OLDEST: Version = (4, 0, 5)
"""The first version with `force_grace_quit` (ossrs/srs #1579)."""

UNSUPPORTED_MAJOR = 7
"""7.0 is under development: see docs/versions.md."""

RECOMMENDED: Version = (6, 0, 191)
"""The version that warnings name."""

RECOMMENDED_TAG = "v6.0-r1"
"""Its image tag."""

Range = tuple[Version, Version]
"""The first version, and the first one after it."""


@dataclass(frozen=True)
class Defect:
    """What is broken in some versions of an edge or an origin.

    ranges: the versions, by series. effect: what it means for viewers and encoders, as the end of "SRS <version>: ".
    source: the report or the fix. warns: whether a preview warns of it; what only an outage shows is documented.
    origins_before: only with origins before this version; None: with any.
    """

    ranges: tuple[Range, ...]
    effect: str
    source: str
    warns: bool = True
    origins_before: Version | None = None

    def fix(self, version: Version) -> Version | None:
        """The version that fixes it, None if this version does not have it."""
        return next((fixed for first, fixed in self.ranges if first <= version < fixed), None)


DROPS_ON_QUIT = Defect(
    (((5, 0, 0), (6, 0, 132)),),
    "a graceful quit drops every connection within a second",
    "ossrs/srs #3805",
    warns=False,  # such releases are rejected, or the operator has accepted it
)

KEEPS_DEAD_STREAMS = Defect(
    (((4, 0, 0), (5, 0, 214)), ((6, 0, 0), (6, 0, 139))),
    "an encoder stays connected to a dead stream after its origin was lost without closing its connections",
    "ossrs/srs #4126",
    warns=False,
)

KEEPS_HLS_FILES = Defect(
    (((6, 0, 130), (6, 0, 173)),),
    "it never deletes the HLS files of a stream that has ended, so that the volume fills (docs/hls.md)",
    "ossrs/srs #4161",
)
"""A defect of origins."""

DEFECTS = (
    DROPS_ON_QUIT,
    KEEPS_DEAD_STREAMS,
    Defect(
        (((4, 0, 13), (4, 0, 267)), ((5, 0, 0), (5, 0, 78))),
        "for 3 seconds after its last viewer has left, a stream cannot be played on that edge",
        "ossrs/srs #2215, #2901",
    ),
    Defect(
        # Since #4165 such an edge pulls `livestream.flv`, which origins of 4.0 do not know; since #4216 not any more.
        (((6, 0, 155), (6, 0, 158)),),
        "with origins of 4.0, viewers over HTTP-FLV see nothing while the stream has no RTMP viewers on that edge",
        "ossrs/srs #4215",
        origins_before=(5, 0, 0),
    ),
    Defect(
        (((6, 0, 0), (6, 0, 171)),),
        "an edge can crash when a stream ends while a viewer opens it over HTTP-FLV, and drops its connections",
        "ossrs/srs #4429",
    ),
    Defect(
        # The fix, #4615, was merged after 6.0.184 and is in 6.0.186 at the latest.
        (((5, 0, 0), (6, 0, 186)),),
        "an edge that has once refused a connection at maxConnections accepts no new one until it restarts",
        "ossrs/srs #4613",
    ),
    Defect(
        (((6, 0, 179), (6, 0, 186)),),
        "only the first viewer of a stream on each edge sees it: the other viewers receive no codec configuration",
        "ossrs/srs #4677",
    ),
)
"""The known defects; docs/versions.md lists them."""


def defects(version: Version, origins: Version) -> Iterator[tuple[Defect, Version]]:
    """The known defects of an edge's version with these origins, each with the version that fixes it."""
    for defect in DEFECTS:
        concerned = defect.origins_before is None or origins < defect.origins_before
        if concerned and (fix := defect.fix(version)):
            yield defect, fix


@dataclass(frozen=True)
class Capabilities:
    """What one SRS version can do.

    grace_start_wait: it knows the directive (4.0.5 does not start with it).
    drains: a graceful quit lets open connections finish.
    exporter: it has an exporter with a port of its own (ossrs/srs #2899, #3195).
    https: HTTPS does no harm. 4.0.47 and later know it, but one failed handshake, such as plain HTTP on that port,
        drops other connections (before 5.0.155 and 6.0.46, ossrs/srs #3513); and clients that do not know the
        intermediate certificate reject the server, which sends only its own (before 5.0.211 and 6.0.122, #3967).
    """

    grace_start_wait: bool
    drains: bool
    exporter: bool
    https: bool


def capabilities(version: Version) -> Capabilities:
    """The row of the table for a version."""
    return Capabilities(
        grace_start_wait=version >= (4, 0, 6),
        drains=DROPS_ON_QUIT.fix(version) is None,
        exporter=version >= (5, 0, 72),
        https=(5, 0, 211) <= version < (6, 0, 0) or version >= (6, 0, 122),
    )


def parse_version(text: str) -> Version | None:
    """Parse the SRS version of an image tag or a version string; None if it is not one exact version.

    `v4.0.6` and `4.0.6` are versions, `v5.0-r3` is a stable release with a known revision; `4`, `v4.0`,
    `develop` and the like are floating tags.
    """
    if exact := re.fullmatch(r"v?(\d{1,9})\.(\d{1,9})\.(\d{1,9})", text):
        return int(exact[1]), int(exact[2]), int(exact[3])
    if stable := re.fullmatch(r"v?(\d{1,9})\.(\d{1,9})-r(\d{1,9})", text):
        major, minor, release = int(stable[1]), int(stable[2]), int(stable[3])
        revisions = _STABLE.get((major, minor))
        if revisions:
            return major, minor, revisions[min(release, len(revisions) - 1)]
    return None


def check_supported(version: Version) -> None:
    """Raise ValueError for a version that this program cannot run."""
    if version < OLDEST:
        raise ValueError(
            f"is SRS {format_version(version)}, which has no graceful quit: every update would drop its connections; "
            f"use {format_version(OLDEST)} or later, best {recommended()}"
        )
    if version[0] >= UNSUPPORTED_MAJOR:
        raise ValueError(
            f"is SRS {format_version(version)}, a development version that is not supported yet: it takes other "
            f"directives for RTMP, and a proxy is to replace the origin cluster (docs/versions.md); use {recommended()}"
        )


def recommended() -> str:
    """The recommended version as text: `v6.0-r1 (SRS 6.0.191)`."""
    return f"{RECOMMENDED_TAG} (SRS {format_version(RECOMMENDED)})"


def format_version(version: Version) -> str:
    """`(4, 0, 6)` as `4.0.6`."""
    return ".".join(str(part) for part in version)

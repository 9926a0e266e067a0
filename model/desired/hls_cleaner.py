"""The container that deletes what origins leave of HLS: playlists of streams that have ended, and their segments.

SRS deletes files by their names, some time after the end of a stream, and does not ask whether an encoder has connected
to another origin meanwhile: its players would lose their playlist. So origins leave them, and here the age of a file
decides, which another origin renews with every segment.
"""

import math

from model.desired.objects import Manifest
from model.desired.pods import CONTAINER_SECURITY
from model.srs.conf import LeftHls

PLAYLIST_SECONDS = 120
"""A playlist that has not changed for so long is deleted; with long segments later. SRS's own default."""

SEGMENT_SECONDS = 3600
"""A segment that is in no playlist is deleted so long after the window. Not earlier: until an origin forgets a stream,
whose encoder may come back, its next playlist has these segments."""

SEGMENT = f"*-{'[0-9]' * 13}-[0-9]*.ts"
"""The names of segments (`HLS_SEGMENT` in model/srs/conf.py; the time has 13 digits until the year 2286). Nothing else
is deleted: recordings and other files may be on the volume."""

LISTED = r"-[0-9]{13}-[0-9]+\.ts$"
"""The end of their lines in a playlist, as a regular expression."""


def script(folder: str, left: LeftHls) -> str:
    """A script for `sh` that deletes them once a minute, for good. folder: of the volume.

    It needs `find` and `grep`, as in GNU or busybox, and ends at once with SIGTERM.
    """
    # SRS ends a segment with a key frame, at twice its length at the latest (hls_aof_ratio).
    playlist = math.ceil(max(PLAYLIST_SECONDS, 3 * left.fragment) / 60)
    segment = math.ceil((SEGMENT_SECONDS + left.window) / 60)
    return "\n".join(
        [
            "trap 'exit 0' TERM",
            f"cd {folder} || exit 1",
            "while true; do",
            f"  find . -type f -name '*.m3u8' -mmin +{playlist} -exec grep -q -E -e '{LISTED}' {{}} ';' "
            "-print -exec rm -f {} ';'",
            f"  find . -type f -name '{SEGMENT}' -mmin +{segment} | while IFS= read -r file; do",
            '    grep -q -s -F -e "${file##*/}" "${file%/*}"/*.m3u8 || rm -f "$file"',
            "  done",
            "  sleep 60 & wait $!",
            "done",
        ]
    )


def cleaner(image: str, folder: str, left: LeftHls) -> Manifest:
    """The container, in the pods of nginx. image: of nginx."""
    return {
        "name": "cleaner",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", script(folder, left)],
        "securityContext": CONTAINER_SECURITY,
        "resources": {"requests": {"cpu": "5m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
        "volumeMounts": [{"name": "hls", "mountPath": folder}],
    }

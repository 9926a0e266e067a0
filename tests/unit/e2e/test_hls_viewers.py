"""Each assertion on HLS can fail."""

import pytest

from e2e.hls_viewers import Played, Playlist, assert_goes_on, assert_played_through

TEXT = """\
#EXTM3U
#EXT-X-VERSION:3
#EXT-X-MEDIA-SEQUENCE:7
#EXT-X-TARGETDURATION:3
#EXTINF:2.016, no desc
a-7.ts
#EXT-X-DISCONTINUITY
#EXTINF:2.016, no desc
a-8.ts
"""


def playlist(sequence: int, names: str, *breaks: int) -> Playlist:
    return Playlist(sequence, tuple(names.split()), breaks)


def test_a_playlist_is_read() -> None:
    assert Playlist.parse(TEXT) == playlist(7, "a-7.ts a-8.ts", 8)
    assert Playlist.parse("") is None


def test_a_playlist_that_goes_on_passes() -> None:
    assert_goes_on([playlist(0, "a b", 0), playlist(0, "a b c", 0), playlist(1, "b c d"), playlist(4, "e")])


@pytest.mark.parametrize(
    ("after", "message"),
    [
        (None, "is deleted"),
        (playlist(0, "x"), "sequence=1"),  # it begins again
        (playlist(1, "b x d"), "segments"),  # a segment of another origin
        (playlist(1, "b c d", 3), "breaks"),
        (playlist(1, "b"), "segments"),  # a stale one
    ],
)
def test_each_deviation_of_a_playlist_fails(after: Playlist | None, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        assert_goes_on([playlist(1, "b c"), after])


def frames(*items: tuple[float, float], ended: bool = False, errors: str = "") -> Played:
    return Played(list(items), ended, errors)


def test_a_player_that_plays_passes() -> None:
    assert_played_through(frames((10, 0), (10.1, 0.03), (13, 0.06)), pause=4, gap=0.1)


@pytest.mark.parametrize(
    "played",
    [
        frames(),
        frames((10, 0), (10.1, 0.03), ended=True),
        frames((10, 0), (10.1, 0.03), errors="404"),
        frames((10, 0), (15, 0.03)),
        frames((10, 0), (10.1, 2)),
        frames((10, 5), (10.1, 0)),
    ],
)
def test_each_disturbance_of_a_player_fails(played: Played) -> None:
    with pytest.raises(AssertionError):
        assert_played_through(played, pause=4, gap=0.1)

"""A run notifies by webhook, and never fails because of it."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from rollout.command import Context
from rollout.notify import payload

RECEIVED: list[Any] = []
ANSWER = [b"ok"]

DINGTALK = "/robot/send?access_token=s"
FEISHU = "/open-apis/bot/v2/hook/s"


class Handler(BaseHTTPRequestHandler):
    """A webhook; its path begins with the status that it answers, and ANSWER is the body."""

    def do_POST(self) -> None:
        RECEIVED.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(int(self.path[1:4]))
        self.end_headers()
        self.wfile.write(ANSWER[-1])

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def webhook() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://oapi.dingtalk.com/robot/send?access_token=x", {"msgtype": "text", "text": {"content": "t"}}),
        ("https://open.feishu.cn/open-apis/bot/v2/hook/x", {"msg_type": "text", "content": {"text": "t"}}),
        ("https://open.larksuite.com/open-apis/bot/v2/hook/x", {"msg_type": "text", "content": {"text": "t"}}),
        ("https://hooks.slack.com/services/x", {"text": "t"}),
        ("https://chat.example.com/hooks/x", {"text": "t"}),
        ("https://proxy.example.com/dingtalk/robot/send?access_token=x", {"msgtype": "text", "text": {"content": "t"}}),
    ],
)
def test_each_service_has_its_format(url: str, expected: dict[str, Any]) -> None:
    assert payload(url, "t") == expected


def test_slack_shows_the_text_and_makes_no_mention_of_it() -> None:
    text = "first frame > 2 s & <!channel>"
    assert payload("https://hooks.slack.com/services/x", text) == {
        "text": "first frame &gt; 2 s &amp; &lt;!channel&gt;",
    }
    assert payload("https://oapi.dingtalk.com/robot/send", text)["text"] == {"content": text}


def test_a_long_text_is_cut() -> None:
    assert payload("https://hooks.slack.com/services/x", "x" * 5000)["text"] == "x" * 3999 + "…"


@pytest.mark.parametrize(
    ("path", "received", "rejected", "reason"),
    [
        (
            DINGTALK,
            {"msgtype": "text", "text": {"content": "rollout of stack dev: ended"}},
            {"errcode": 310000, "errmsg": "keywords not in content"},
            "310000: keywords not in content",
        ),
        (
            FEISHU,
            {"msg_type": "text", "content": {"text": "rollout of stack dev: ended"}},
            {"code": 19024, "data": {}, "msg": "Key Words Not Found"},
            "19024: Key Words Not Found",
        ),
    ],
)
def test_a_rejection_with_http_200_is_reported(
    webhook: str,
    path: str,
    received: dict[str, Any],
    rejected: dict[str, Any],
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """DingTalk and Feishu answer 200 also where the text lacks the keyword of the robot, or a signature is missing."""
    context = Context(Path(), "dev", notify_url=f"{webhook}/200{path}")
    for accepted in ({"errcode": 0, "errmsg": "ok"}, {"code": 0, "msg": "success", "StatusCode": 0}):
        ANSWER.append(json.dumps(accepted).encode())
        context.notify("ended")
        assert RECEIVED[-1] == received
        assert capsys.readouterr().err == ""
    ANSWER.append(json.dumps(rejected).encode())
    context.notify("ended")
    assert capsys.readouterr().err == f"the notification could not be sent: {reason}\n"
    ANSWER.append(b"ok")


def test_a_webhook_that_fails_is_reported_without_its_url(webhook: str, capsys: pytest.CaptureFixture[str]) -> None:
    Context(Path(), "dev", notify_url=f"{webhook}/200").notify("ended")
    assert RECEIVED[-1] == {"text": "rollout of stack dev: ended"}
    assert capsys.readouterr().err == ""
    for url, reason in (
        (f"{webhook}/500?token=s", "HTTP 500"),
        ("http://127.0.0.1:1/s", "URLError"),
        ("s", "ValueError"),
    ):
        Context(Path(), "dev", notify_url=url).notify("ended")
        assert capsys.readouterr().err == f"the notification could not be sent: {reason}\n"

"""Notifications of a run by webhook, for operators away from its terminal: it waits, has failed or has ended."""

import json
import urllib.error
import urllib.request
from typing import Any, cast
from urllib.parse import urlsplit

TIMEOUT = 5.0
"""Seconds for the server to answer; a run does not wait longer, and never fails because of it."""

MAX_TEXT = 4000
"""Characters of a message: DingTalk and Feishu take 20 kB."""

MAX_ANSWER = 10_000
"""Bytes of an answer that are read."""


def payload(url: str, text: str) -> dict[str, Any]:
    """The text in the format of the service that the path of the URL belongs to; of an unknown one, that of Slack.

    By the path, because a proxy may carry it.
    DingTalk (`/robot/send`): open.dingtalk.com/document/robots/custom-robot-access.
    Feishu and Lark (`/open-apis/bot/v2/hook/…`): open.feishu.cn/document/client-docs/bot-v3/add-custom-bot.
    Slack: api.slack.com/messaging/webhooks; `&`, `<` and `>` would be links and mentions, unless they are escaped
    (api.slack.com/reference/surfaces/formatting).
    """
    text = text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
    path = urlsplit(url).path
    if path.endswith("/robot/send"):
        return {"msgtype": "text", "text": {"content": text}}
    if "/open-apis/bot/v2/hook/" in path:
        return {"msg_type": "text", "content": {"text": text}}
    return {"text": text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}


def send(url: str, text: str) -> str:
    """Post a text; returns why that failed, "" if it did not. The reason has no URL in it: the URL is a secret."""
    try:
        body = json.dumps(payload(url, text)).encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/json; charset=utf-8"})
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return rejection(answer.read(MAX_ANSWER))
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code}"
    except (OSError, ValueError) as error:
        return type(error).__name__


def rejection(answer: bytes) -> str:
    """Why a message is rejected with HTTP 200, "" if it is not.

    DingTalk: `{"errcode": 310000, "errmsg": "keywords not in content"}`. Feishu: `{"code": 19024, "msg": "Key Words Not
    Found"}`. Slack answers `ok`.
    """
    try:
        read: Any = json.loads(answer)
    except ValueError:
        return ""
    fields = cast("dict[str, Any]", read) if isinstance(read, dict) else {}
    code = fields.get("errcode") or fields.get("code")
    return f"{code}: {fields.get('errmsg') or fields.get('msg') or 'no reason'}" if code else ""

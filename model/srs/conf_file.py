"""An srs.conf as pods mount it, with its secrets and without them."""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from model.names import CONFIG_HASH_LENGTH, config_hash
from model.srs.conf import SrsConf
from model.srs.grammar import Directive, Finding, walk

_REFERENCE = re.compile(r"\$\(([\w.]+)\)")
"""A secret in srs.conf. Not with braces, at which SRS ends a word."""

_SHORTEST = 4
"""Characters of a value that is searched for in other texts: shorter ones are found everywhere."""


@dataclass(frozen=True)
class ConfFile:
    """An srs.conf. text: what SRS reads. shown: the same without secrets.

    A text with secrets is in a Secret, and `shown` in a ConfigMap of the same name, from which previews read what
    changes without the permission to read Secrets.
    key: of the hash. hides: whether everything that the stack config adds is secret.
    """

    text: str
    shown: str
    key: str = ""
    hides: bool = False

    @property
    def is_secret(self) -> bool:
        """Whether it has a secret."""
        return self.text != self.shown

    @property
    def hash(self) -> str:
        """A short name for the content; with a key where a guessed secret could be checked with a plain hash."""
        if not self.is_secret:
            return config_hash(self.text)
        return hmac.new(self.key.encode(), self.text.encode(), hashlib.sha256).hexdigest()[:CONFIG_HASH_LENGTH]

    def without_secrets(self, earlier: str) -> str:
        """An earlier text of the same srs.conf. Where everything is secret, lines that are not in this one are, too."""
        if not self.hides:
            return earlier
        known = set(self.shown.splitlines())
        lines = (
            line if line in known else re.sub(r"^(\s*\w*).*", r"\1 [secret]", line) for line in earlier.splitlines()
        )
        return "\n".join(lines)


def conf_file(conf: SrsConf, secrets: Mapping[str, str], key: str, hides: bool) -> ConfFile:
    """Put the secrets into an srs.conf. secrets: by the name in `$(name)`. key, hides: as in `ConfFile`."""
    return ConfFile(resolve(conf.text, secrets), conf.hidden_text if hides else conf.text, key, hides)


def resolve(text: str, secrets: Mapping[str, str]) -> str:
    """A text with the values of its references."""
    return _REFERENCE.sub(lambda match: secrets.get(match[1], match[0]), text)


def references(text: str) -> set[str]:
    """The names of the secrets that a text refers to."""
    return set(_REFERENCE.findall(text))


def unknown_secrets(conf: SrsConf, secrets: Iterable[str]) -> list[Finding]:
    """References to secrets that do not exist."""
    return [
        Finding(
            directive.line,
            f"has $({name}), but srs:secrets has no such name",
            directive.source,
            reason="UnknownSecret",
        )
        for directive in walk(conf.directives)
        for word in directive.args
        for name in references(word)
        if directive.source and name not in secrets
    ]


def redact(text: str, secrets: Mapping[str, str]) -> str:
    """A text, such as a log, without the values of the secrets."""
    for name, value in sorted(secrets.items(), key=lambda item: -len(item[1])):
        if len(value) >= _SHORTEST:
            text = text.replace(value, f"$({name})")
    return text


def added_words(directives: Iterable[Directive]) -> list[str]:
    """The words that a stack config has added to an srs.conf, without short ones."""
    return [word for directive in walk(directives) if directive.source for word in directive.args if len(word) >= 8]

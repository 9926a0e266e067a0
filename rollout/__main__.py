"""rollout: the operator's command, besides pulumi. `rollout --help` lists its verbs, docs/rollout.md describes them."""

import argparse
import json
import os
import sys
from pathlib import Path

from cluster.live import UnreachableError
from model.config.read import ConfigError
from model.run_record import RunRecordError
from rollout.canary.run_state import OpenRunError, RunLostError
from rollout.command import (
    CommandFailedError,
    CommandRejectedError,
    Context,
    Exit,
    Verb,
    project_folder,
    selected_stack,
)
from rollout.errors import OperationError, RejectedError
from rollout.stack.git import GitError
from rollout.stack.stack_file import StackFileError
from rollout.verbs import VERBS

_REJECTED = (CommandRejectedError, RejectedError, ConfigError, StackFileError, OpenRunError, RunRecordError, ValueError)
_FAILED = (CommandFailedError, OperationError, UnreachableError, GitError, RunLostError, OSError)


def main(argv: list[str] | None = None) -> int:
    """Run one verb; the exit code."""
    arguments = parser().parse_args(argv)
    verb: Verb = arguments.verb
    as_json: bool = getattr(arguments, "json", False)
    try:
        folder = project_folder(arguments.cwd)
        # Paths in the stack file are relative to it.
        os.chdir(folder)
        name = arguments.stack or selected_stack(folder)
        context = Context(folder, name, as_json, getattr(arguments, "yes", False))
        return int(verb.run(context, arguments))
    except _REJECTED as error:
        return _error(error, Exit.REJECTED, as_json)
    except _FAILED as error:
        return _error(error, Exit.FAILED, as_json)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return Exit.INTERRUPTED


def _error(error: Exception, code: Exit, as_json: bool) -> int:
    print(f"error: {error}", file=sys.stderr)
    if as_json:
        print(json.dumps({"error": str(error)}))
    return code


def parser() -> argparse.ArgumentParser:
    """The arguments of all verbs."""
    # Options of the stack may stand before the verb and after it.
    defaults = {"stack": None, "cwd": Path()}
    command = argparse.ArgumentParser(
        prog="rollout",
        description="Observe and change a running stack. Each change is an edit of Pulumi.<stack>.yaml and an update.",
        parents=[_common()],
    )
    command.set_defaults(**defaults)
    verbs = command.add_subparsers(dest="verb_name", required=True, metavar="verb")
    for verb in VERBS:
        added = verbs.add_parser(
            verb.name, help=verb.help, description=verb.description, parents=[_common()], allow_abbrev=False
        )
        verb.add_arguments(added)
        if verb.asks:
            added.add_argument("--yes", action="store_true", help="do not ask")
        if verb.json:
            added.add_argument("--json", action="store_true", help="print the result as JSON")
        added.set_defaults(verb=verb)
    return command


def _common() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--stack", metavar="NAME", help="the stack (default: the selected one)")
    common.add_argument("--cwd", metavar="DIR", type=Path, help="a folder of the project (default: the current one)")
    return common


if __name__ == "__main__":
    sys.exit(main())

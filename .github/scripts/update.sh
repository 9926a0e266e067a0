#!/usr/bin/env bash
# update.sh: `pulumi up` of the stack STACK.
set -eo pipefail
# shellcheck source=.github/scripts/credentials.sh
. "$(dirname "${BASH_SOURCE[0]}")/credentials.sh"
use_credentials "update-$STACK"
exec pulumi up --stack "$STACK" --yes --non-interactive --color never --suppress-progress

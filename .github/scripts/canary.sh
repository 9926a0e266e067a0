#!/usr/bin/env bash
# canary.sh: `rollout run --auto` of the stack STACK with ARGUMENTS, a JSON list. The stack file of before is kept for the
# job that commits.
set -eo pipefail
# shellcheck source=.github/scripts/credentials.sh
. "$(dirname "${BASH_SOURCE[0]}")/credentials.sh"
use_credentials "update-$STACK"
mkdir -p "$RUNNER_TEMP/result/before"
cp "Pulumi.$STACK.yaml" "$RUNNER_TEMP/result/before/"
mapfile -t arguments < <(jq -r '.[]' <<<"$ARGUMENTS")
exec bin/rollout run --stack "$STACK" --auto "${arguments[@]}"

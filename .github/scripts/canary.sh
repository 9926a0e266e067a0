#!/usr/bin/env bash
# canary.sh: `rollout run --auto` of the stack STACK with ARGUMENTS, a JSON list. The stack file of before is kept for the
# job that commits.
set -eo pipefail
# shellcheck source=.github/scripts/credentials.sh
. "$(dirname "${BASH_SOURCE[0]}")/credentials.sh"
mkdir -p "$RUNNER_TEMP/result/before"
cp "Pulumi.$STACK.yaml" "$RUNNER_TEMP/result/before/"
use_credentials "update-$STACK"
echo $$ >"$RUNNER_TEMP/process" # of `rollout run` as well, for abort-canary.sh
mapfile -t arguments < <(jq -r '.[]' <<<"$ARGUMENTS")
exec bin/rollout run --stack "$STACK" --auto "${arguments[@]}"

#!/usr/bin/env bash
# abort-canary.sh: end the canary that this job has begun, if it is still open: the job was cancelled, or its time is
# over, and no runner will be there to resume it. A run that another job or an operator has begun is left alone.
set -eo pipefail
# shellcheck source=.github/scripts/credentials.sh
. "$(dirname "${BASH_SOURCE[0]}")/credentials.sh"
use_credentials "update-$STACK"
release=$(bin/rollout status --stack "$STACK" --no-plan --json |
  jq -r --arg host "@$(hostname) " '.run // empty | select(.startedBy | contains($host)) | .release')
if [[ $release ]]; then
  bin/rollout abort --stack "$STACK" --yes
fi
mkdir -p "$RUNNER_TEMP/result"
cp "Pulumi.$STACK.yaml" "$RUNNER_TEMP/result/"

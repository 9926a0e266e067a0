#!/usr/bin/env bash
# abort-canary.sh: end the canary that this job has begun, if it is still open: the job was cancelled, or its time is
# over, and no runner will be there to resume it. A run that another job or an operator has begun is left alone.
set -eo pipefail
# shellcheck source=.github/scripts/credentials.sh
. "$(dirname "${BASH_SOURCE[0]}")/credentials.sh"
[[ -f $RUNNER_TEMP/process ]] || exit 0 # no canary was begun
use_credentials "update-$STACK"
# A runner of one's own keeps its name, and the host may have an earlier run that is open.
process="@$(hostname) (process $(<"$RUNNER_TEMP/process"))"
release=$(bin/rollout status --stack "$STACK" --no-plan --json |
  jq -r --arg process "$process" '.run // empty | select(.startedBy | endswith($process)) | .release')
if [[ $release ]]; then
  exec bin/rollout abort --stack "$STACK" --yes
fi

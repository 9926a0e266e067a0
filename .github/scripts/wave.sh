#!/usr/bin/env bash
# wave.sh: one canary after the other, each a run of canary.yml: of each stack in STACKS (`eu,us`), with the time SOAK
# between two of them. It ends with the first canary that fails, which has reverted itself.
set -eo pipefail
export LC_ALL=C
if [[ ! $STACKS =~ ^[a-z0-9-]+(,[a-z0-9-]+)*$ || ! $SOAK =~ ^[0-9]+[smh]$ ]]; then
  echo "::error::stacks must be names such as eu,us, and soak a time such as 1h"
  exit 1
fi
runs="repos/$GITHUB_REPOSITORY/actions"
done=""
for stack in ${STACKS//,/ }; do
  if [[ $done ]]; then
    echo "$done: complete; the next stack is $stack, in $SOAK"
    sleep "$SOAK"
  fi
  wave="$GITHUB_RUN_ID-$GITHUB_RUN_ATTEMPT"
  # As run-name in canary.yml has it: it is the only way from a dispatch to its run.
  export TITLE="canary of $RELEASE in $stack, wave $wave"
  gh workflow run canary.yml --ref main -f "stack=$stack" -f "release=$RELEASE" -f "image=$IMAGE" -f "steps=$STEPS" \
    -f "pause=$PAUSE" -f "wave=$wave"
  # The canary goes on in any case: a request that fails is made again.
  id=""
  until [[ $id ]]; do
    sleep "${POLL-15}"
    id=$(gh api "$runs/workflows/canary.yml/runs?event=workflow_dispatch&per_page=100" \
      --jq '.workflow_runs[] | select(.display_title == env.TITLE) | .id') || id=""
  done
  echo "$stack: $GITHUB_SERVER_URL/$GITHUB_REPOSITORY/actions/runs/$id"
  conclusion=""
  until [[ $conclusion ]]; do
    sleep "${POLL-15}"
    conclusion=$(gh api "$runs/runs/$id" --jq '.conclusion // empty') || conclusion=""
  done
  if [[ $conclusion != success ]]; then
    echo "::error::$stack: $conclusion; the wave ends here"
    exit 1
  fi
  done="${done:+$done, }$stack"
done
echo "$done: complete"

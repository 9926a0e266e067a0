#!/usr/bin/env bash
# canary-arguments.sh: check the inputs of a canary, and make arguments of `rollout run` of them, a JSON list.
set -eo pipefail
export LC_ALL=C

check() {
  if [[ ! $2 =~ ^($3)$ ]]; then
    printf '::error::%s: %q must match ^%s$\n' "$1" "$2" "$3"
    exit 1
  fi
}

check stack "$STACK" '[a-z0-9][a-z0-9-]{0,40}'
check release "$RELEASE" '[a-z0-9][a-z0-9-]{0,40}'
check image "$IMAGE" '[a-z0-9][A-Za-z0-9._:/@-]+'
check steps "$STEPS" '[0-9]+(,[0-9]+)*'
check pause "$PAUSE" '([0-9]+[smh])+'
check stream-url "$STREAM_URL" '((rtmp|https?)://[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._-]+)+)?'
echo "stack=$STACK" >>"$GITHUB_OUTPUT"
arguments=(--release "$RELEASE" --image "$IMAGE" --steps "$STEPS" --pause "$PAUSE")
if [[ $STREAM_URL ]]; then
  arguments+=(--stream-url "$STREAM_URL")
fi
jq -cnr '"arguments=\($ARGS.positional)"' --args -- "${arguments[@]}" >>"$GITHUB_OUTPUT"

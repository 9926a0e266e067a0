#!/usr/bin/env bash
# commit-canary.sh: commit what a canary has changed in the stack file of STACK to main. What was merged into main
# meanwhile stays; if it changes the same lines, nothing is committed, and the job fails.
#
# $RUNNER_TEMP/result: the stack file after the canary, and in before/ that of before. MESSAGE: of the commit.
set -eo pipefail
file="Pulumi.$STACK.yaml"
result="$RUNNER_TEMP/result"
if cmp -s "$result/before/$file" "$result/$file"; then
  echo "$file is not changed"
  exit
fi
push=(git push --quiet origin HEAD:main)
if [[ ${GH_TOKEN-} ]]; then
  credentials=$(printf 'x-access-token:%s' "$GH_TOKEN" | base64 -w0)
  push=(git -c "http.extraheader=AUTHORIZATION: basic $credentials" "${push[@]:1}")
fi
for _ in 1 2 3; do
  git fetch --quiet origin main
  git checkout --quiet --detach FETCH_HEAD
  if ! git merge-file -L main -L before -L canary "$file" "$result/before/$file" "$result/$file"; then
    git diff -- "$file"
    echo "::error::$file was changed on main in the same lines as by the canary, and is not overwritten. The stack file" \
      "of the canary is an artifact of this run: merge it by a pull request. An update of main would undo the canary."
    exit 1
  fi
  git -c user.name="github-actions[bot]" -c user.email="41898282+github-actions[bot]@users.noreply.github.com" \
    commit --quiet --only --message "$MESSAGE" -- "$file"
  if "${push[@]}"; then # rejected if main has moved
    exit
  fi
done
echo "::error::main has moved three times while $file was committed; re-run this job"
exit 1

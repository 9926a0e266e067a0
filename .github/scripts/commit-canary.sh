#!/usr/bin/env bash
# commit-canary.sh: commit what a canary has changed in the stack file of STACK to main. What was merged into main
# meanwhile stays; if it changes the same lines, nothing is committed, and the job fails.
#
# $RUNNER_TEMP/result: the stack file after the canary, and in before/ that of before. MESSAGE: of the commit. GH_TOKEN:
# to fetch and push.
set -eo pipefail
file="Pulumi.$STACK.yaml"
result="$RUNNER_TEMP/result"
if cmp -s "$result/before/$file" "$result/$file"; then
  echo "$file is not changed"
  exit
fi
way_out="The stack file of the canary is an artifact of this run: merge it by a pull request. An update of main would \
undo the canary."
# The checkout keeps no token, and a private repository needs one to fetch as well.
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0="http.$GITHUB_SERVER_URL/.extraheader"
GIT_CONFIG_VALUE_0="AUTHORIZATION: basic $(printf 'x-access-token:%s' "$GH_TOKEN" | base64 -w0)"
export GIT_CONFIG_VALUE_0
tried=""
for _ in 1 2 3; do
  git fetch --quiet origin main
  main=$(git rev-parse FETCH_HEAD)
  if [[ $main == "$tried" ]]; then
    echo "::error::the push to main was rejected, although main has not moved: it may be protected. $way_out"
    exit 1
  fi
  git checkout --quiet --detach "$main"
  if ! git merge-file -L main -L before -L canary "$file" "$result/before/$file" "$result/$file"; then
    git diff -- "$file"
    echo "::error::$file was changed on main in the same lines as by the canary, and is not overwritten. $way_out"
    exit 1
  fi
  if git diff --quiet -- "$file"; then
    echo "main has this change of $file"
    exit
  fi
  git -c user.name="github-actions[bot]" -c user.email="41898282+github-actions[bot]@users.noreply.github.com" \
    commit --quiet --only --message "$MESSAGE" -- "$file"
  if git push --quiet origin HEAD:main; then # rejected if main has moved
    exit
  fi
  tried=$main
done
echo "::error::main has moved three times while $file was committed; re-run this job"
exit 1

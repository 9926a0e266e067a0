#!/usr/bin/env bash
# preview.sh: `pulumi preview` of the stack STACK; its exit code and its output, without secrets, are in
# $RUNNER_TEMP/preview for the job that comments.
set -eo pipefail
# shellcheck source=.github/scripts/credentials.sh
. "$(dirname "${BASH_SOURCE[0]}")/credentials.sh"
folder="$RUNNER_TEMP/preview"
mkdir "$folder"

preview() {
  # The passphrase of the preview would decrypt them, and `pulumi up` uses them to change things.
  if grep -qE "^[[:space:]]*[\"']?alicloud:(accessKey|secretKey|securityToken)[\"']?:" "Pulumi.$STACK.yaml"; then
    echo "error: Pulumi.$STACK.yaml has an access key of Alibaba Cloud in it, which a preview could decrypt."
    echo "docs/pull-requests.md says where to keep the key of \`pulumi up\`, and that this one is to be replaced"
    return 1
  fi
  use_credentials "preview-$STACK" || return 1
  # The program writes its plan, in words, to plan.txt beside this file.
  # Without a refresh, which would read the Secrets of the stack: the plan compares with the live objects anyway.
  SRS_PLAN_FILE="$folder/plan.json" timeout --signal=INT --kill-after=1m "$TIMEOUT" \
    pulumi preview --refresh=false --stack "$STACK" --diff --non-interactive --color never --suppress-progress
}

status=0
output=$(preview 2>&1) || status=$?
# What happens to connections comes first; of a failed preview, the comment shows the end.
if [[ $status == 0 && -s $folder/plan.txt ]]; then
  output="$(<"$folder/plan.txt")"$'\n\n'"$output"
fi
rm -f "$folder"/plan.*
# GitHub masks secrets in logs, but not in artifacts and comments. A SAS token is part of URLs: `sig=…`.
for name in "${secrets[@]}"; do
  secret=${!name-}
  [[ -z $secret ]] || output=${output//"$secret"/***}
done
# The provider tries to validate what would be created by a dry run, and goes on without it.
sed -E '/Retry #[0-9]+; creation failed: .* is forbidden: User/d;s/([?&]sig=)[^&"[:space:]]+/\1***/g' <<<"$output" | tee "$folder/output.txt"
echo "$status" >"$folder/status"
exit "$status"

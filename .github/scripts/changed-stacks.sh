#!/usr/bin/env bash
# changed-stacks.sh BASE: list the stacks that a change since the commit BASE concerns, as a JSON list in the output
# `stacks`. It compares files, and runs nothing of the change.
#
# A stack is its Pulumi.<stack>.yaml with the files that it names (srs.conf); a change of the program concerns every
# stack. The dev stack is left out: ci.yml updates it for real.
set -eo pipefail
export LC_ALL=C
base=$1
# Without an earlier commit, all stacks.
git cat-file -e "$base^{commit}" 2>/dev/null || base=$(git hash-object -t tree /dev/null)
# A rename changes both names: a stack file may still name the earlier one.
program=$(git diff --no-renames --name-only "$base" HEAD -- \
  Pulumi.yaml __main__.py model update cluster components requirements.txt)
mapfile -d '' -t changed < <(git diff --no-renames -z --name-only "$base" HEAD)

# Whether a stack file names a changed file: by the last part of its path, since a path can be written in many ways.
names_a_changed_file() {
  local path
  for path in "${changed[@]}"; do
    [[ $path == Pulumi*.yaml ]] || ! grep -qF -- "${path##*/}" "$1" || return 0
  done
  return 1
}

stacks=()
invalid=0
while IFS= read -r -d '' file; do
  if [[ -z $program && " ${changed[*]} " != *" $file "* ]] && ! names_a_changed_file "$file"; then
    continue
  fi
  stack=${file#Pulumi.}
  stack=${stack%.yaml}
  if [[ ! $stack =~ ^[a-z0-9][a-z0-9-]{0,40}$ ]]; then
    printf '::error::%q is left out: the name of a stack must match ^[a-z0-9][a-z0-9-]{0,40}$\n' "$file"
    invalid=1
  elif [[ $stack != dev ]]; then
    stacks+=("$stack")
  fi
done < <(git ls-files -z -- ':(glob)Pulumi.*.yaml')
if ((${#stacks[@]})); then
  printf -v list '"%s",' "${stacks[@]}"
  echo "stacks=[${list%,}]" >>"$GITHUB_OUTPUT"
fi
exit "$invalid"

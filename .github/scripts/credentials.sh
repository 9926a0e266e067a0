# shellcheck shell=bash
# Sourced by the scripts that use the credentials of an environment: writes the kubeconfig where the stack file expects
# it, or into a file that KUBECONFIG names, and removes variables that are empty. Returns 1 with a message if the
# environment is not set up.
#
# use_credentials ENVIRONMENT, with STACK and the secrets and variables of the environment.
secrets=(KUBECONFIG_DATA PULUMI_CONFIG_PASSPHRASE PULUMI_ACCESS_TOKEN AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
  AZURE_STORAGE_SAS_TOKEN AZURE_CLIENT_SECRET ALICLOUD_ACCESS_KEY ALICLOUD_SECRET_KEY)
variables=(PULUMI_BACKEND_URL AWS_REGION AZURE_STORAGE_ACCOUNT AZURE_TENANT_ID AZURE_CLIENT_ID)

use_credentials() {
  local name path
  for name in PULUMI_BACKEND_URL KUBECONFIG_DATA; do
    if [[ -z ${!name-} ]]; then
      echo "error: environment $1 has no $name; docs/pull-requests.md says what to set up"
      return 1
    fi
  done
  path=$(.venv/bin/python -c 'import sys, yaml
print(yaml.safe_load(open(sys.argv[1]))["config"]["srs:kubernetes"]["kubeconfig"])' \
    "Pulumi.$STACK.yaml" 2>/dev/null) || path=$RUNNER_TEMP/kubeconfig
  path=${path/#\~/$HOME}
  export KUBECONFIG=$path
  mkdir -p "$(dirname "$path")" && (umask 077 && printf '%s' "$KUBECONFIG_DATA" >"$path")
  unset KUBECONFIG_DATA
  # A secret or variable that the environment does not have is an empty text here.
  for name in "${secrets[@]}" "${variables[@]}"; do
    [[ -n ${!name-} ]] || unset "$name"
  done
}

//go:build tools

// Package tools pins the Pulumi CLI, which is built from its module as it is.
package tools

import _ "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"

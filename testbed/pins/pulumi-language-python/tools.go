//go:build tools

// Package tools pins Pulumi's Python language host, which is built from its module as it is.
// v3.79.0 is the last release line whose sdk module holds it.
package tools

import _ "github.com/pulumi/pulumi/sdk/v3/python/cmd/pulumi-language-python"

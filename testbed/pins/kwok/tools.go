//go:build tools

// Package tools pins kwok, the simulator of nodes and pods, which is built from its module as it is.
package tools

import _ "sigs.k8s.io/kwok/cmd/kwok"

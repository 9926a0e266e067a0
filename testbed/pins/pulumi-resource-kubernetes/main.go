// Command pulumi-resource-kubernetes is Pulumi's Kubernetes provider.
//
// The module's own main embeds a file that its release process generates, so it does not build from
// the module; this one serves the same provider with the schema that the module does contain.
package main

import (
	_ "embed"

	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/provider"
)

// schema is the module's cmd/pulumi-resource-kubernetes/schema.json; the build copies it here.
//
//go:embed schema.json
var schema []byte

// version is the provider's release; the build sets it, and the engine compares it with the plugin's name.
var version = "unset"

func main() {
	provider.Serve("kubernetes", version, schema, []byte("{}"))
}

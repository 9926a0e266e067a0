// Command coredns is CoreDNS with the few plugins that cluster DNS needs here.
//
// The official binary has them all, and the clients of several clouds with them; without those it builds in a
// quarter of the time. It reads the same Corefile.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/ready"
)

func main() {
	// In the order in which a query passes through them (plugin.cfg of CoreDNS).
	dnsserver.Directives = []string{"bind", "health", "ready", "log", "errors", "kubernetes"}
	coremain.Run()
}

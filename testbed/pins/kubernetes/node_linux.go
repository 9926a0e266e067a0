package main

import (
	"context"
	"os"

	"k8s.io/component-base/cli"
	kubeproxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// A node that runs containers is Linux only.
func init() {
	components["kubelet"] = func() { os.Exit(cli.Run(kubelet.NewKubeletCommand(context.Background()))) }
	components["kube-proxy"] = func() { os.Exit(cli.Run(kubeproxy.NewProxyCommand())) }
}

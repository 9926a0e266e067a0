// Command pulumi-resource-alicloud is Pulumi's Alibaba Cloud provider, cut down to what this project declares.
//
// It bridges the Terraform provider to Pulumi as the published plugin does, under the resource types of the Python
// package, and leaves out everything but the load balancer and elastic addresses.
package main

import (
	"github.com/aliyun/terraform-provider-alicloud/alicloud"
	"github.com/hashicorp/terraform-plugin-sdk/helper/schema"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	shim "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim/sdk-v1"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
)

// version is the plugin's release; the build sets it to that of the Python package, because the engine asks for a
// plugin of exactly that version.
var version = "0.0.0"

// served has the Pulumi type of each Terraform resource that is kept.
var served = map[string]tokens.Type{
	"alicloud_slb_load_balancer":                   "alicloud:slb/applicationLoadBalancer:ApplicationLoadBalancer",
	"alicloud_eip_address":                         "alicloud:ecs/eipAddress:EipAddress",
	"alicloud_eip_association":                     "alicloud:ecs/eipAssociation:EipAssociation",
	"alicloud_common_bandwidth_package_attachment": "alicloud:vpc/commonBandwithPackageAttachment:CommonBandwithPackageAttachment",
}

// fromEnvironment is a provider setting that the published plugin also reads from the environment.
func fromEnvironment(variable string) *tfbridge.SchemaInfo {
	return &tfbridge.SchemaInfo{Default: &tfbridge.DefaultInfo{EnvVars: []string{variable}}}
}

func provider() tfbridge.ProviderInfo {
	full := alicloud.Provider().(*schema.Provider)
	kept := map[string]*schema.Resource{}
	resources := map[string]*tfbridge.ResourceInfo{}
	for name, pulumiType := range served {
		kept[name] = full.ResourcesMap[name]
		resources[name] = &tfbridge.ResourceInfo{Tok: pulumiType}
	}
	full.ResourcesMap = kept
	full.DataSourcesMap = map[string]*schema.Resource{}

	info := tfbridge.ProviderInfo{
		P:         shim.NewProvider(full),
		Name:      "alicloud",
		Version:   version,
		Resources: resources,
		Config: map[string]*tfbridge.SchemaInfo{
			"ecs_role_name": fromEnvironment("ALICLOUD_ECS_ROLE_NAME"),
			"profile":       fromEnvironment("ALICLOUD_PROFILE"),
			"region":        fromEnvironment("ALICLOUD_REGION"),
		},
	}
	info.SetAutonaming(255, "-")
	return info
}

func main() {
	tfbridge.Main("alicloud", version, provider(), []byte(`{"name":"alicloud","version":"`+version+`"}`))
}

"""A Classic Load Balancer (CLB) of Alibaba Cloud, optionally with an elastic IP address."""

import pulumi
from pulumi_alicloud.ecs import EipAddress, EipAssociation
from pulumi_alicloud.slb import ApplicationLoadBalancer
from pulumi_alicloud.vpc import CommonBandwithPackageAttachment

from model.load_balancers.clb import REUSED_TAG, ClbLoadBalancer, EipSettings


class Clb(pulumi.ComponentResource):
    """The CLB, its EIP, their association, and the bandwidth plan of the EIP.

    The cloud controller manager creates listeners and backends from the Service that names the CLB.
    """

    id: pulumi.Output[str]
    """Id of the CLB, known once its EIP is associated."""
    created_id: pulumi.Output[str]
    """The same, known in a preview unless the CLB has to be created."""
    address: pulumi.Output[str]
    """The address of its EIP, or its own."""
    has_eip: bool

    def __init__(
        self, name: str, settings: ClbLoadBalancer, title: str, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """title: the name of the CLB where the settings have none."""
        super().__init__("srs:edge:Clb", name, {}, opts)
        self.has_eip = settings.eip is not None
        child = pulumi.ResourceOptions(parent=self, protect=settings.protected)
        title = settings.name or title
        intranet = settings.address_type == "intranet"
        by_bandwidth = not intranet and settings.internet_charge_type == "PayByBandwidth"
        balancer = ApplicationLoadBalancer(
            name,
            load_balancer_name=title,
            address_type=settings.address_type,
            vswitch_id=settings.vswitch_id,
            payment_type="PayAsYouGo",
            instance_charge_type=settings.instance_charge_type,
            load_balancer_spec=settings.spec,
            internet_charge_type=None if intranet else settings.internet_charge_type,
            bandwidth=settings.bandwidth if by_bandwidth else None,
            resource_group_id=settings.resource_group_id,
            delete_protection="on" if settings.delete_protection else "off",
            modification_protection_status="ConsoleProtection" if settings.modification_protection else "NonProtection",
            modification_protection_reason="managed by pulumi" if settings.modification_protection else None,
            tags={**settings.tags, REUSED_TAG: "true"},
            opts=child,
        )
        self.id = self.created_id = balancer.id
        self.address = balancer.address
        if settings.eip:
            associated, self.address = _eip(name, settings.eip, title, settings, balancer.id, child)
            if settings.eip.bandwidth_package is not None:
                # Not protected: without it the address goes on with its own bandwidth. The API rejects an address that
                # is in another plan.
                CommonBandwithPackageAttachment(
                    f"{name}-eip",
                    bandwidth_package_id=settings.eip.bandwidth_package,
                    instance_id=associated.allocation_id,
                    opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
                )
            self.id = pulumi.Output.all(balancer.id, associated.id).apply(lambda ids: str(ids[0]))
        self.register_outputs({"id": self.id})


def _eip(
    name: str,
    eip: EipSettings,
    title: str,
    settings: ClbLoadBalancer,
    clb: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
) -> tuple[EipAssociation, pulumi.Output[str]]:
    address = EipAddress(
        f"{name}-eip",
        address_name=title,
        bandwidth=str(eip.bandwidth),
        internet_charge_type=eip.charge_type,
        payment_type="PayAsYouGo",
        deletion_protection=settings.delete_protection,
        resource_group_id=settings.resource_group_id,
        tags=dict(settings.tags),
        opts=opts,
    )
    association = EipAssociation(
        f"{name}-eip", allocation_id=address.id, instance_id=clb, instance_type="SlbInstance", opts=opts
    )
    return association, address.ip_address

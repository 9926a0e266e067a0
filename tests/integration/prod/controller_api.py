"""The actions of the fake Alibaba API that a cloud controller uses: listeners, server groups, and all of NLBs.

They are the actions that kubernetes/cloud-provider-alibaba-cloud calls (pkg/provider/alibaba/{slb,nlb,vpc,ecs}) for TCP
listeners, with the errors that a stack can cause. Importing this module adds them to `fake_alibaba_api`.
"""

import itertools
import json
import re
from collections.abc import Iterable
from typing import Any

from integration.prod.fake_alibaba_api import (
    CONTROLLER_ACTIONS,
    Action,
    Answer,
    ApiError,
    CloudApi,
    Listener,
    Parameters,
    Server,
    ServerGroup,
    find_clb,
    numbered,
)

_DEFAULTS = {
    "Scheduler": "wrr",
    "EstablishedTimeout": "900",
    "PersistenceTimeout": "0",
    "ConnectionDrain": "off",
    "ConnectionDrainTimeout": "0",
    "HealthCheckSwitch": "on",
    "HealthCheckType": "tcp",
    "HealthCheckInterval": "2",
    "HealthyThreshold": "3",
    "UnhealthyThreshold": "3",
    "HealthCheckConnectTimeout": "5",
    "HealthCheckConnectPort": "0",
    "AclStatus": "off",
    "AclType": "",
    "AclId": "",
    "Bandwidth": "-1",
    "Status": "stopped",
}
"""Attributes of a new TCP listener."""

_TCP = {name for name in _DEFAULTS if name not in ("Scheduler", "Bandwidth", "Status") and not name.startswith("Acl")}


def _typed(value: str) -> Any:
    """A value as JSON answers have it: numbers and booleans are not strings."""
    return int(value) if value.isdigit() else {"true": True, "false": False}.get(value, value)


def _items(parameters: Parameters, prefix: str) -> list[Parameters]:
    """A list of structures from parameters such as `Servers.1.Port`."""
    found: dict[int, Parameters] = {}
    for key, value in parameters.items():
        if match := re.fullmatch(rf"{prefix}\.(\d+)\.(\w+)", key):
            found.setdefault(int(match[1]), {})[match[2]] = value
    return [found[number] for number in sorted(found)]


def _always(answer: Answer) -> Action:
    return lambda _, __: dict(answer)


# CLBs (Slb 2014-05-15).


def _describe_clbs(api: CloudApi, parameters: Parameters) -> Answer:
    found: Iterable[Answer] = api.clbs.values()
    if "Tags" in parameters:
        wanted = {(tag["TagKey"], tag["TagValue"]) for tag in json.loads(parameters["Tags"])}
        found = [clb for clb in found if wanted & set(api.tags.get(clb["LoadBalancerId"], {}).items())]
    if "LoadBalancerName" in parameters:
        found = [clb for clb in found if clb["LoadBalancerName"] == parameters["LoadBalancerName"]]
    clbs = list(found)
    return {"LoadBalancers": {"LoadBalancer": clbs}, "TotalCount": len(clbs), "PageNumber": 1, "PageSize": 50}


def _describe_listeners(api: CloudApi, parameters: Parameters) -> Answer:
    (clb,) = numbered(parameters, "LoadBalancerId.{}")
    find_clb(api, {"LoadBalancerId": clb})
    found: list[Answer] = []
    for (owner, port), listener in api.listeners.items():
        if owner != clb:
            continue
        attributes = _DEFAULTS | listener.attributes
        acl = attributes["AclId"]
        found.append(
            {
                "LoadBalancerId": clb,
                "ListenerPort": port,
                "ListenerProtocol": listener.protocol,
                "VServerGroupId": listener.group,
                "Description": listener.description,
                **{name: attributes[name] for name in ("Status", "Scheduler", "AclStatus", "AclType", "AclId")},
                "AclIds": [acl] if acl else [],
                "Bandwidth": int(attributes["Bandwidth"]),
                "TCPListenerConfig": {name: _typed(attributes[name]) for name in _TCP},
                "HTTPListenerConfig": {"ListenerForward": "off"},
            }
        )
    return {"Listeners": found, "NextToken": ""}


def _attributes(parameters: Parameters) -> Parameters:
    renamed = {name[:1].upper() + name[1:]: value for name, value in parameters.items()}  # healthCheckInterval
    return {name: value for name, value in renamed.items() if name in _DEFAULTS}


def _create_listener(api: CloudApi, parameters: Parameters) -> Answer:
    key = (parameters["LoadBalancerId"], int(parameters["ListenerPort"]))
    find_clb(api, parameters)
    if key in api.listeners:
        raise ApiError("ListenerAlreadyExists", "There is already a listener bound to the port.")
    group = parameters.get("VServerGroupId", "")
    if group not in api.groups:
        raise ApiError("InvalidParameter", "The specified VServerGroupId does not exist.")
    api.listeners[key] = Listener("tcp", parameters.get("Description", ""), group, _attributes(parameters))
    return {}


def _listener(api: CloudApi, parameters: Parameters) -> Listener:
    find_clb(api, parameters)
    found = api.listeners.get((parameters["LoadBalancerId"], int(parameters["ListenerPort"])))
    if found is None or parameters.get("ListenerProtocol", found.protocol) != found.protocol:
        raise ApiError("InvalidParameter", "The specified listener does not exist.")
    return found


def _set_listener(api: CloudApi, parameters: Parameters) -> Answer:
    listener = _listener(api, parameters)
    listener.description = parameters.get("Description", listener.description)
    listener.group = parameters.get("VServerGroupId", listener.group)
    listener.attributes |= _attributes(parameters)
    return {}


def _start_listener(api: CloudApi, parameters: Parameters) -> Answer:
    _listener(api, parameters).attributes["Status"] = "running"
    return {}


def _delete_listener(api: CloudApi, parameters: Parameters) -> Answer:
    _listener(api, parameters)
    del api.listeners[parameters["LoadBalancerId"], int(parameters["ListenerPort"])]
    return {}


def _create_group(api: CloudApi, parameters: Parameters) -> Answer:
    find_clb(api, parameters)
    identifier, name = api.new_id("rsp"), parameters["VServerGroupName"]
    api.groups[identifier] = ServerGroup(name, parameters["LoadBalancerId"])
    return {"VServerGroupId": identifier, "VServerGroupName": name}


def _group(api: CloudApi, parameters: Parameters) -> ServerGroup:
    group = api.groups.get(parameters["VServerGroupId"])
    if group is None or group.load_balancer not in api.clbs:
        raise ApiError("InvalidParameter", "The specified VServerGroupId does not exist.")
    return group


def _describe_groups(api: CloudApi, parameters: Parameters) -> Answer:
    clb = find_clb(api, parameters)["LoadBalancerId"]
    found = [
        {"VServerGroupId": identifier, "VServerGroupName": group.name, "ServerCount": len(group.servers)}
        for identifier, group in api.groups.items()
        if group.load_balancer == clb
    ]
    return {"VServerGroups": {"VServerGroup": found}}


def _describe_group(api: CloudApi, parameters: Parameters) -> Answer:
    group = _group(api, parameters)
    servers = [
        {
            "ServerId": server.id,
            "ServerIp": server.ip,
            "Port": server.port,
            "Weight": server.weight,
            "Type": server.kind,
            "Description": server.description,
        }
        for server in group.servers
    ]
    return {
        "VServerGroupId": parameters["VServerGroupId"],
        "VServerGroupName": group.name,
        "LoadBalancerId": group.load_balancer,
        "BackendServers": {"BackendServer": servers},
    }


def _servers(parameters: Parameters) -> list[Server]:
    return [
        Server(
            item["serverId"],
            item.get("serverIp", ""),
            int(item["port"]),
            int(item.get("weight", 100)),
            item.get("description", ""),
            item.get("type", "ecs"),
        )
        for item in json.loads(parameters["BackendServers"])
    ]


def _change(group: ServerGroup, add: Iterable[Server] = (), remove: Iterable[Server] = ()) -> None:
    removed = {server.key for server in remove}
    group.servers = [server for server in group.servers if server.key not in removed]
    known = {server.key for server in group.servers}
    group.servers += [server for server in add if server.key not in known]


def _add_servers(api: CloudApi, parameters: Parameters) -> Answer:
    _change(_group(api, parameters), add=_servers(parameters))
    return {}


def _remove_servers(api: CloudApi, parameters: Parameters) -> Answer:
    _change(_group(api, parameters), remove=_servers(parameters))
    return {}


def _set_servers(api: CloudApi, parameters: Parameters) -> Answer:
    _set_weights(_group(api, parameters), _servers(parameters))
    return {}


def _set_weights(group: ServerGroup, servers: Iterable[Server]) -> None:
    weights = {server.key: server.weight for server in servers}
    for server in group.servers:
        server.weight = weights.get(server.key, server.weight)


def _delete_group(api: CloudApi, parameters: Parameters) -> Answer:
    group, identifier = _group(api, parameters), parameters["VServerGroupId"]
    if any(key[0] == group.load_balancer and listener.group == identifier for key, listener in api.listeners.items()):
        raise ApiError("RspoolVipExist", "There are vips associating with this vServer group.")
    del api.groups[identifier]
    return {}


# Addresses and network cards (Vpc 2016-04-28, Ecs 2014-05-26).


def _describe_eips(api: CloudApi, parameters: Parameters) -> Answer:
    found = [eip for eip in api.eips.values() if eip["InstanceId"] == parameters.get("AssociatedInstanceId")]
    return {"EipAddresses": {"EipAddress": found}, "TotalCount": len(found), "PageNumber": 1, "PageSize": 10}


def _describe_network_cards(_: CloudApi, parameters: Parameters) -> Answer:
    """Each pod has a card of its own."""
    sets = [
        {
            "NetworkInterfaceId": f"eni-{ip.replace('.', '-')}",
            "PrivateIpSets": {"PrivateIpSet": [{"PrivateIpAddress": ip}]},
        }
        for ip in numbered(parameters, "PrivateIpAddress.{}")
    ]
    return {"NetworkInterfaceSets": {"NetworkInterfaceSet": sets}, "TotalCount": len(sets), "NextToken": ""}


_CLB_ACTIONS: dict[str, Action] = {
    "DescribeLoadBalancers": _describe_clbs,
    "DescribeLoadBalancerListeners": _describe_listeners,
    "CreateLoadBalancerTCPListener": _create_listener,
    "SetLoadBalancerTCPListenerAttribute": _set_listener,
    "StartLoadBalancerListener": _start_listener,
    "DeleteLoadBalancerListener": _delete_listener,
    "CreateVServerGroup": _create_group,
    "DescribeVServerGroups": _describe_groups,
    "DescribeVServerGroupAttribute": _describe_group,
    "AddVServerGroupBackendServers": _add_servers,
    "RemoveVServerGroupBackendServers": _remove_servers,
    "SetVServerGroupAttribute": _set_servers,
    "DeleteVServerGroup": _delete_group,
    "DescribeEipAddresses": _describe_eips,
    "DescribeNetworkInterfaces": _describe_network_cards,
    "DescribeVpcAttribute": _always({"CidrBlock": "10.0.0.0/8"}),
    "DescribeSecurityGroups": _always({"SecurityGroups": {"SecurityGroup": []}}),
}
CONTROLLER_ACTIONS.update(_CLB_ACTIONS)


# NLBs (Nlb 2022-04-30).

_JOB = {"JobId": "job-1"}


def _tags(parameters: Parameters) -> dict[str, str]:
    return {tag["Key"]: tag.get("Value", "") for tag in _items(parameters, "Tag")}


def _create_nlb(api: CloudApi, parameters: Parameters) -> Answer:
    zones = _items(parameters, "ZoneMappings")
    if len(zones) < 2:
        raise ApiError("ParameterMissing", "zone mappings are required")
    identifier = api.new_id("nlb")
    api.nlbs[identifier] = {
        "LoadBalancerId": identifier,
        "LoadBalancerName": parameters["LoadBalancerName"],
        "AddressType": parameters["AddressType"],
        "VpcId": parameters["VpcId"],
        "LoadBalancerStatus": "Active",
        "AddressIpVersion": "Ipv4",
        "DNSName": f"{identifier}.cn-beijing.nlb.example.com",
        "ResourceGroupId": "rg-testbed",
        "DeletionProtection": parameters.get("DeletionProtectionConfig.Enabled", "false"),
        "ZoneMappings": [zone | {"LoadBalancerAddresses": []} for zone in zones],
    }
    api.tags[identifier] = _tags(parameters)
    return {"LoadbalancerId": identifier, **_JOB}


def _nlb(api: CloudApi, identifier: str, key: str = "TagKey", value: str = "TagValue") -> Answer:
    """An answer about an NLB. key, value: how this action names those of tags."""
    tags = [dict(zip((key, value), tag, strict=True)) for tag in api.tags.get(identifier, {}).items()]
    return api.nlbs[identifier] | {"Tags": tags}


def _list_nlbs(api: CloudApi, parameters: Parameters) -> Answer:
    tags, names = set(_tags(parameters).items()), numbered(parameters, "LoadBalancerNames.{}")
    found = [
        _nlb(api, identifier, "Key", "Value")
        for identifier, nlb in api.nlbs.items()
        if tags <= set(api.tags.get(identifier, {}).items()) and (not names or nlb["LoadBalancerName"] in names)
    ]
    return {"LoadBalancers": found, "TotalCount": len(found)}


def _get_nlb(api: CloudApi, parameters: Parameters) -> Answer:
    if parameters["LoadBalancerId"] not in api.nlbs:
        raise ApiError("ResourceNotFound.loadBalancer", "The specified resource of loadbalancer is not found.", 404)
    return _nlb(api, parameters["LoadBalancerId"])


def _delete_nlb(api: CloudApi, parameters: Parameters) -> Answer:
    identifier = parameters["LoadBalancerId"]
    if api.nlbs[identifier]["DeletionProtection"] == "true":
        raise ApiError("OperationDenied.DeletionProtection", "The deletion protection is on.")
    del api.nlbs[identifier]
    api.listeners = {key: listener for key, listener in api.listeners.items() if key[0] != identifier}
    return dict(_JOB)


def _protect_nlb(api: CloudApi, parameters: Parameters) -> Answer:
    protection = parameters.get("DeletionProtectionEnabled", "false")
    api.nlbs[parameters["LoadBalancerId"]]["DeletionProtection"] = protection
    return {}


def _create_nlb_group(api: CloudApi, parameters: Parameters) -> Answer:
    identifier = api.new_id("sgp")
    api.groups[identifier] = ServerGroup(parameters["ServerGroupName"], attributes=parameters)
    api.tags[identifier] = _tags(parameters)
    return {"ServerGroupId": identifier, **_JOB}


def _list_nlb_groups(api: CloudApi, parameters: Parameters) -> Answer:
    tags, wanted = set(_tags(parameters).items()), numbered(parameters, "ServerGroupIds.{}")
    found: list[Answer] = []
    for identifier, group in api.groups.items():
        own = api.tags.get(identifier, {})
        if group.load_balancer or not tags <= set(own.items()) or (wanted and identifier not in wanted):
            continue
        raw = group.attributes
        check = {key.partition(".")[2]: value for key, value in raw.items() if key.startswith("HealthCheckConfig.")}
        found.append(
            {
                "ServerGroupId": identifier,
                "ServerGroupName": group.name,
                "ServerGroupType": raw.get("ServerGroupType", "Instance"),
                "Scheduler": raw.get("Scheduler", "Wrr"),
                "Protocol": raw["Protocol"],
                "ServerCount": len(group.servers),
                "ConnectionDrainEnabled": raw.get("ConnectionDrainEnabled") == "true",
                "ConnectionDrainTimeout": int(raw.get("ConnectionDrainTimeout", 0)),
                "PreserveClientIpEnabled": True,
                "HealthCheck": {name: _typed(value) for name, value in check.items()},
                "Tags": [{"Key": key, "Value": value} for key, value in own.items()],
            }
        )
    return {"ServerGroups": found, "TotalCount": len(found)}


def _update_nlb_group(api: CloudApi, parameters: Parameters) -> Answer:
    api.groups[parameters["ServerGroupId"]].attributes |= parameters
    return dict(_JOB)


def _list_nlb_servers(api: CloudApi, parameters: Parameters) -> Answer:
    group = parameters["ServerGroupId"]
    found = [
        {
            "ServerGroupId": group,
            "ServerId": server.id,
            "ServerIp": server.ip,
            "ServerType": server.kind,
            "Port": server.port,
            "Weight": server.weight,
            "Description": server.description,
        }
        for server in api.groups[group].servers
    ]
    return {"Servers": found, "TotalCount": len(found)}


def _nlb_servers(parameters: Parameters) -> list[Server]:
    return [
        Server(
            item["ServerId"],
            item.get("ServerIp", ""),
            int(item["Port"]),
            int(item.get("Weight", 100)),
            item.get("Description", ""),
            item["ServerType"],
        )
        for item in _items(parameters, "Servers")
    ]


def _add_nlb_servers(api: CloudApi, parameters: Parameters) -> Answer:
    _change(api.groups[parameters["ServerGroupId"]], add=_nlb_servers(parameters))
    return dict(_JOB)


def _remove_nlb_servers(api: CloudApi, parameters: Parameters) -> Answer:
    _change(api.groups[parameters["ServerGroupId"]], remove=_nlb_servers(parameters))
    return dict(_JOB)


def _set_nlb_servers(api: CloudApi, parameters: Parameters) -> Answer:
    _set_weights(api.groups[parameters["ServerGroupId"]], _nlb_servers(parameters))
    return dict(_JOB)


def _delete_nlb_group(api: CloudApi, parameters: Parameters) -> Answer:
    api.groups.pop(parameters["ServerGroupId"], None)
    return dict(_JOB)


def _create_nlb_listener(api: CloudApi, parameters: Parameters) -> Answer:
    key = (parameters["LoadBalancerId"], int(parameters["ListenerPort"]))
    description, group = parameters.get("ListenerDescription", ""), parameters["ServerGroupId"]
    api.listeners[key] = Listener(parameters["ListenerProtocol"], description, group, parameters)
    return {"ListenerId": _listener_id(*key), **_JOB}


def _listener_id(nlb: str, port: int) -> str:
    return f"{nlb}@{port}"


def _list_nlb_listeners(api: CloudApi, parameters: Parameters) -> Answer:
    wanted = numbered(parameters, "LoadBalancerIds.{}")
    found = [
        {
            "ListenerId": _listener_id(nlb, port),
            "ListenerPort": port,
            "ListenerProtocol": listener.protocol,
            "LoadBalancerId": nlb,
            "ListenerDescription": listener.description,
            "ServerGroupId": listener.group,
            "ListenerStatus": "Running",
            "IdleTimeout": int(listener.attributes.get("IdleTimeout", 900)),
        }
        for (nlb, port), listener in api.listeners.items()
        if nlb in wanted
    ]
    return {"Listeners": found, "TotalCount": len(found)}


def _nlb_key(parameters: Parameters) -> tuple[str, int]:
    nlb, _, port = parameters["ListenerId"].partition("@")
    return nlb, int(port)


def _update_nlb_listener(api: CloudApi, parameters: Parameters) -> Answer:
    listener = api.listeners[_nlb_key(parameters)]
    listener.attributes |= parameters
    listener.group = parameters.get("ServerGroupId", listener.group)
    listener.description = parameters.get("ListenerDescription", listener.description)
    return dict(_JOB)


def _delete_nlb_listener(api: CloudApi, parameters: Parameters) -> Answer:
    del api.listeners[_nlb_key(parameters)]
    return dict(_JOB)


def _tag_nlb(api: CloudApi, parameters: Parameters) -> Answer:
    for identifier in numbered(parameters, "ResourceId.{}"):
        api.tags.setdefault(identifier, {}).update(_tags(parameters))
    return {}


def _untag_nlb(api: CloudApi, parameters: Parameters) -> Answer:
    for identifier, key in itertools.product(numbered(parameters, "ResourceId.{}"), numbered(parameters, "TagKey.{}")):
        api.tags.get(identifier, {}).pop(key, None)
    return {}


def _list_nlb_tags(api: CloudApi, parameters: Parameters) -> Answer:
    found = [
        {"ResourceId": identifier, "TagKey": key, "TagValue": value}
        for identifier in numbered(parameters, "ResourceId.{}")
        for key, value in api.tags.get(identifier, {}).items()
    ]
    return {"TagResources": found}


def _list_jobs(_: CloudApi, parameters: Parameters) -> Answer:
    return {"Jobs": [{"Id": job, "Status": "Succeeded"} for job in numbered(parameters, "JobIds.{}")]}


_NLB_ACTIONS: dict[str, Action] = {
    "CreateLoadBalancer": _create_nlb,
    "ListLoadBalancers": _list_nlbs,
    "GetLoadBalancerAttribute": _get_nlb,
    "DeleteLoadBalancer": _delete_nlb,
    "UpdateLoadBalancerProtection": _protect_nlb,
    "CreateServerGroup": _create_nlb_group,
    "ListServerGroups": _list_nlb_groups,
    "UpdateServerGroupAttribute": _update_nlb_group,
    "ListServerGroupServers": _list_nlb_servers,
    "AddServersToServerGroup": _add_nlb_servers,
    "RemoveServersFromServerGroup": _remove_nlb_servers,
    "UpdateServerGroupServersAttribute": _set_nlb_servers,
    "DeleteServerGroup": _delete_nlb_group,
    "CreateListener": _create_nlb_listener,
    "ListListeners": _list_nlb_listeners,
    "UpdateListenerAttribute": _update_nlb_listener,
    "DeleteListener": _delete_nlb_listener,
    "TagResources": _tag_nlb,
    "UntagResources": _untag_nlb,
    "ListTagResources": _list_nlb_tags,
    "GetJobStatus": _always({"Status": "Succeeded"}),
    "ListAsynJobs": _list_jobs,
}
CONTROLLER_ACTIONS.update({f"nlb:{name}": action for name, action in _NLB_ACTIONS.items()})

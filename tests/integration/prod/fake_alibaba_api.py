"""A fake Alibaba Cloud API with the actions that the production stack uses: CLBs and elastic IP addresses (EIP).

    with CloudApi() as api:
        api.endpoint                    # host:port for the provider's settings
        api.fail("CreateLoadBalancer", "QuotaExceeded", "…")
        api.clbs, api.eips              # the existing ones
        api.calls                       # all requests of the provider, in order
    api.listeners, api.groups       # what a cloud controller has made (controller_api.py)

Requests are RPC calls with the action in the query string, or in a header with the version of an NLB's API; errors are
HTTP answers with Code and Message. It rejects what the real API rejects, as far as the stack can cause it. It does not
verify signatures; CONTROLLER_KEY tells the requests of a cloud controller from the provider's.
"""

import itertools
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

Parameters = dict[str, str]
Answer = dict[str, Any]

_SIGNING = {
    "AccessKeyId", "Format", "Signature", "SignatureMethod", "SignatureNonce", "SignatureType", "SignatureVersion",
    "Timestamp",
}  # fmt: skip


CONTROLLER_KEY = "cloud-controller"
"""Id of the access key of a cloud controller."""

NLB_VERSION = "2022-04-30"
"""Version of the API of NLBs; its actions are `nlb:…` here, because some have the names of a CLB's."""


class ApiError(Exception):
    """An error answer."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


@dataclass(frozen=True)
class Call:
    """A request and the HTTP status of its answer."""

    action: str
    parameters: Parameters
    status: int

    @property
    def changes(self) -> bool:
        """Whether the action changes something."""
        return not self.action.removeprefix("nlb:").startswith(("Describe", "List", "Get"))


@dataclass
class Server:
    """A backend. id: of the instance or the network card. ip: of a pod, empty for a node."""

    id: str
    ip: str
    port: int
    weight: int
    description: str
    kind: str

    @property
    def key(self) -> tuple[str, str, int]:
        """What makes it another backend."""
        return self.id, self.ip, self.port


@dataclass
class ServerGroup:
    """Backends of listeners. load_balancer: of a CLB's, empty for an NLB's. attributes: as the API received them."""

    name: str
    load_balancer: str = ""
    attributes: Parameters = field(default_factory=dict[str, str])
    servers: list[Server] = field(default_factory=list[Server])


@dataclass
class Listener:
    """A port of a CLB or an NLB. group: id of its server group. attributes: as the API received them."""

    protocol: str
    description: str
    group: str
    attributes: Parameters = field(default_factory=dict[str, str])


@dataclass
class _Fault:
    """What happens to the next calls of an action: an error instead, or a delay of the answer."""

    action: str
    times: int
    error: ApiError | None = None
    seconds: float = 0


@dataclass
class CloudApi:
    """The API and its state: CLBs, NLBs and elastic IP addresses by id, as in its answers.

    listeners: by load balancer and port. groups: server groups by id. on_change: called after each request of a
    controller that has changed something.
    """

    clbs: dict[str, Answer] = field(default_factory=dict[str, Answer])
    eips: dict[str, Answer] = field(default_factory=dict[str, Answer])
    tags: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    tokens: dict[str, str] = field(default_factory=dict[str, str])
    """Ids of CLBs by the client token of the request that created them."""
    nlbs: dict[str, Answer] = field(default_factory=dict[str, Answer])
    listeners: dict[tuple[str, int], Listener] = field(default_factory=dict[tuple[str, int], Listener])
    groups: dict[str, ServerGroup] = field(default_factory=dict[str, ServerGroup])
    calls: list[Call] = field(default_factory=list[Call])
    controller_calls: list[Call] = field(default_factory=list[Call])
    on_change: Callable[[], None] = lambda: None
    packages: dict[str, str] = field(default_factory=lambda: {"cbwp-testbed0001": "1000", "cbwp-testbed0002": "2000"})
    """Bandwidth plans by id, with their bandwidth in Mbit/s."""
    vswitches: dict[str, str] = field(default_factory=lambda: {"vsw-testbed0001": "vpc-testbed0001"})

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._unique = secrets.token_hex(2)  # the Services of all tests are in one cluster
        self.addresses = itertools.count(10)
        self._faults: list[_Fault] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def fail(self, action: str, code: str, message: str, status: int = 400, times: int = 1) -> None:
        """Answer the next calls of `action` with an error instead of performing them."""
        self._faults.append(_Fault(action, times, error=ApiError(code, message, status)))

    def hang(self, action: str, seconds: float, times: int = 1) -> None:
        """Delay the answers to the next calls of `action`, which are performed."""
        self._faults.append(_Fault(action, times, seconds=seconds))

    def clear_faults(self) -> None:
        """End all failures and delays."""
        self._faults.clear()

    def answer(self, parameters: Parameters, by_controller: bool = False) -> tuple[int, Answer]:
        """The answer to a request: HTTP status and content."""
        action = parameters.get("Action", "")
        plain = {key: value for key, value in parameters.items() if key not in _SIGNING}
        status, content = 200, Answer()
        fault = self._fault(action)
        try:
            if fault and fault.error:
                raise fault.error
            with self._lock:
                act = (CONTROLLER_ACTIONS.get(action) if by_controller else None) or _ACTIONS.get(action)
                if act is None:
                    raise ApiError("InvalidAction.NotFound", f"The specified action {action} is not found.", 404)
                content = act(self, plain)
        except ApiError as error:
            status, content = error.status, {"Code": error.code, "Message": error.message, "HostId": self.endpoint}
        if fault:
            time.sleep(fault.seconds)
        content["RequestId"] = f"request-{next(self._numbers)}"
        call = Call(action, plain, status)
        (self.controller_calls if by_controller else self.calls).append(call)
        if by_controller and call.changes and status == 200:
            self.on_change()
        return status, content

    def _fault(self, action: str) -> _Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.action == action and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def new_id(self, prefix: str) -> str:
        """An unused id."""
        return f"{prefix}-testbed{self._unique}{next(self._numbers):04}"

    def add_clb(self, parameters: Parameters) -> Answer:
        """Create a CLB, like CreateLoadBalancer."""
        vswitch = parameters.get("VSwitchId", "")
        intranet = parameters.get("AddressType") == "intranet"
        number = next(self.addresses)
        clb: Answer = {
            "LoadBalancerId": self.new_id("lb"),
            "LoadBalancerName": parameters.get("LoadBalancerName", ""),
            "LoadBalancerStatus": "active",
            "RegionId": parameters.get("RegionId", ""),
            "Address": f"172.16.0.{number}" if intranet else f"203.0.113.{number}",
            "AddressType": parameters.get("AddressType", "internet"),
            "AddressIPVersion": parameters.get("AddressIPVersion", "ipv4"),
            "Bandwidth": int(parameters.get("Bandwidth", "1")),
            "DeleteProtection": parameters.get("DeleteProtection", "off"),
            "InternetChargeType": parameters.get("InternetChargeType", "paybytraffic"),
            "LoadBalancerSpec": parameters.get("LoadBalancerSpec", ""),
            "MasterZoneId": "cn-beijing-h",
            "SlaveZoneId": "cn-beijing-g",
            "ModificationProtectionStatus": parameters.get("ModificationProtectionStatus", "NonProtection"),
            "ModificationProtectionReason": parameters.get("ModificationProtectionReason", ""),
            "PayType": parameters.get("PayType", "PayOnDemand"),
            "InstanceChargeType": parameters.get("InstanceChargeType", "PayBySpec"),
            "ResourceGroupId": "rg-testbed",
            "VSwitchId": vswitch,
            "VpcId": self.vswitches.get(vswitch, ""),
            "NetworkType": "vpc",
        }
        self.clbs[clb["LoadBalancerId"]] = clb
        return clb

    def eip_of(self, clb: str) -> str | None:
        """The elastic IP address of a CLB, if it has one."""
        return next((eip["IpAddress"] for eip in self.eips.values() if eip["InstanceId"] == clb), None)


def _handler(api: CloudApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            parameters = {**dict(parse_qsl(urlsplit(self.path).query, True)), **dict(parse_qsl(body, True))}
            action = parameters.get("Action") or self.headers.get("x-acs-action", "")
            nlb = NLB_VERSION in (parameters.get("Version"), self.headers.get("x-acs-version"))
            parameters["Action"] = f"nlb:{action}" if nlb else action
            signer = parameters.get("AccessKeyId", "") + self.headers.get("Authorization", "")
            status, content = api.answer(parameters, CONTROLLER_KEY in signer)
            data = json.dumps(content).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except OSError:
                self.close_connection = True  # the client has closed the connection

        do_GET = do_POST  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


# Actions of Slb 2014-05-15.


def find_clb(api: CloudApi, parameters: Parameters) -> Answer:
    """The CLB that a request names, or its error."""
    try:
        return api.clbs[parameters["LoadBalancerId"]]
    except KeyError:
        raise ApiError("InvalidLoadBalancerId.NotFound", "The specified LoadBalancerId does not exist.", 404) from None


def _create_clb(api: CloudApi, parameters: Parameters) -> Answer:
    if (vswitch := parameters.get("VSwitchId")) and vswitch not in api.vswitches:
        raise ApiError("InvalidVSwitchId.NotFound", "The specified VSwitch does not exist.", 404)
    # A request with a known token is a retry.
    token = parameters.get("ClientToken", "")
    known = api.clbs.get(api.tokens.get(token, "")) if token else None
    clb = known or api.add_clb(parameters)
    if token:
        api.tokens[token] = clb["LoadBalancerId"]
    return {key: clb[key] for key in ("LoadBalancerId", "LoadBalancerName", "Address")}


def _delete_clb(api: CloudApi, parameters: Parameters) -> Answer:
    clb = find_clb(api, parameters)
    if clb["DeleteProtection"] == "on":
        raise ApiError("OperationDenied.DeleteProtectionIsOn", "The instance has the delete protection on.")
    if api.eip_of(clb["LoadBalancerId"]):
        raise ApiError("OperationDenied.EipInUse", "An elastic IP address is associated with the instance.")
    del api.clbs[clb["LoadBalancerId"]]
    return {}


def _set_clb(*names: str) -> Callable[[CloudApi, Parameters], Answer]:
    def act(api: CloudApi, parameters: Parameters) -> Answer:
        clb = find_clb(api, parameters)
        for name in names:
            if name in parameters:
                clb[name] = int(parameters[name]) if name == "Bandwidth" else parameters[name]
        return {}

    return act


def numbered(parameters: Parameters, pattern: str) -> list[str]:
    """The values of parameters such as `ResourceId.1`, in order."""
    values = (parameters.get(pattern.format(number)) for number in itertools.count(1))
    return [value for value in itertools.takewhile(lambda value: value is not None, values) if value is not None]


def _tag(api: CloudApi, parameters: Parameters) -> Answer:
    keys, values = numbered(parameters, "Tag.{}.Key"), numbered(parameters, "Tag.{}.Value")
    for resource in numbered(parameters, "ResourceId.{}"):
        api.tags.setdefault(resource, {}).update(zip(keys, values, strict=True))
    return {}


def _untag(api: CloudApi, parameters: Parameters) -> Answer:
    for resource in numbered(parameters, "ResourceId.{}"):
        for key in numbered(parameters, "TagKey.{}"):
            api.tags.get(resource, {}).pop(key, None)
    return {}


def _list_tags(api: CloudApi, parameters: Parameters) -> Answer:
    kind = parameters["ResourceType"]
    found = [
        {"ResourceId": resource, "ResourceType": kind, "TagKey": key, "TagValue": value}
        for resource in numbered(parameters, "ResourceId.{}")
        for key, value in api.tags.get(resource, {}).items()
    ]
    return {"TagResources": {"TagResource": found}}


# Actions of Vpc 2016-04-28.


def _describe_vswitch(api: CloudApi, parameters: Parameters) -> Answer:
    vswitch = parameters["VSwitchId"]
    if vswitch not in api.vswitches:
        raise ApiError("InvalidVswitchID.NotFound", "Specified vswitch does not exist.", 404)
    return {"VSwitchId": vswitch, "VpcId": api.vswitches[vswitch], "ZoneId": "cn-beijing-h", "Status": "Available"}


def _eip(api: CloudApi, parameters: Parameters) -> Answer:
    try:
        return api.eips[parameters["AllocationId"]]
    except KeyError:
        raise ApiError("InvalidAllocationId.NotFound", "Specified allocation ID is not found", 404) from None


def _allocate(api: CloudApi, parameters: Parameters) -> Answer:
    eip: Answer = {
        "AllocationId": api.new_id("eip"),
        "IpAddress": f"198.51.100.{next(api.addresses)}",
        "Status": "Available",
        "Name": parameters.get("Name", ""),
        "Bandwidth": parameters.get("Bandwidth", "5"),
        "EipBandwidth": parameters.get("Bandwidth", "5"),
        "BandwidthPackageId": "",
        "InternetChargeType": parameters.get("InternetChargeType", "PayByBandwidth"),
        "ChargeType": parameters.get("InstanceChargeType", "PostPaid"),
        "ISP": parameters.get("ISP", "BGP"),
        "Netmode": "public",
        "Description": parameters.get("Description", ""),
        "DeletionProtection": False,
        "HDMonitorStatus": "OFF",
        "ResourceGroupId": "rg-testbed",
        "AllocationTime": "2026-01-01T00:00:00Z",
        "RegionId": parameters.get("RegionId", ""),
        "InstanceId": "",
        "InstanceType": "",
        "Zone": "",
        "Mode": "NAT",
    }
    api.eips[eip["AllocationId"]] = eip
    return {"AllocationId": eip["AllocationId"], "EipAddress": eip["IpAddress"], "ResourceGroupId": "rg-testbed"}


def _describe_eips(api: CloudApi, parameters: Parameters) -> Answer:
    eip = api.eips.get(parameters.get("AllocationId", ""))
    found = []
    if eip:
        tags = [{"Key": key, "Value": value} for key, value in api.tags.get(eip["AllocationId"], {}).items()]
        found = [eip | {"Tags": {"Tag": tags}}]
    return {"EipAddresses": {"EipAddress": found}, "TotalCount": len(found)}


def _associate(api: CloudApi, parameters: Parameters) -> Answer:
    clb = api.clbs.get(parameters["InstanceId"])
    if clb is None:
        raise ApiError("InvalidInstanceId.NotFound", "The specified InstanceId is not found.", 404)
    if clb["AddressType"] != "intranet":
        raise ApiError("InvalidInstance.NotSupport", "An internet instance cannot be given an elastic IP address.")
    _eip(api, parameters).update(InstanceId=clb["LoadBalancerId"], InstanceType="SlbInstance", Status="InUse")
    return {}


def _unassociate(api: CloudApi, parameters: Parameters) -> Answer:
    _eip(api, parameters).update(InstanceId="", InstanceType="", Status="Available")
    return {}


def _modify_eip(api: CloudApi, parameters: Parameters) -> Answer:
    eip = _eip(api, parameters)
    eip.update({name: parameters[name] for name in ("Name", "Bandwidth", "Description") if name in parameters})
    eip["EipBandwidth"] = parameters.get("Bandwidth", eip["EipBandwidth"])
    return {}


def _package(api: CloudApi, parameters: Parameters) -> str:
    """The bandwidth plan; it is named by an id only, because the stack does not create it."""
    package = parameters["BandwidthPackageId"]
    if package not in api.packages:
        raise ApiError("InvalidBandwidthPackageId.NotFound", "The specified bandwidth package does not exist.", 404)
    return package


def _add_to_package(api: CloudApi, parameters: Parameters) -> Answer:
    package = _package(api, parameters)
    eip = _eip(api, {"AllocationId": parameters["IpInstanceId"]})
    if eip["BandwidthPackageId"]:
        raise ApiError("BandwidthPackage.HasAttached", "The EIP is in a bandwidth package already.")
    # `Bandwidth` is the one that holds, `EipBandwidth` its own (API DescribeEipAddresses).
    eip.update(BandwidthPackageId=package, Bandwidth=api.packages[package])
    return {}


def _remove_from_package(api: CloudApi, parameters: Parameters) -> Answer:
    package = _package(api, parameters)
    eip = _eip(api, {"AllocationId": parameters["IpInstanceId"]})
    if eip["BandwidthPackageId"] != package:
        raise ApiError("OperationUnsupported.IpNotInCbwp", "The EIP is not in this bandwidth package.")
    eip.update(BandwidthPackageId="", Bandwidth=eip["EipBandwidth"])
    return {}


def _describe_packages(api: CloudApi, parameters: Parameters) -> Answer:
    package = parameters.get("BandwidthPackageId", "")
    if package not in api.packages:
        return {"CommonBandwidthPackages": {"CommonBandwidthPackage": []}, "TotalCount": 0}
    addresses = [
        {"AllocationId": eip["AllocationId"], "IpAddress": eip["IpAddress"]}
        for eip in api.eips.values()
        if eip["BandwidthPackageId"] == package
    ]
    found = {
        "BandwidthPackageId": package,
        "Bandwidth": api.packages[package],
        "Status": "Available",
        "PublicIpAddresses": {"PublicIpAddresse": addresses},
    }
    return {"CommonBandwidthPackages": {"CommonBandwidthPackage": [found]}, "TotalCount": 1}


def _protect_eip(api: CloudApi, parameters: Parameters) -> Answer:
    eip = _eip(api, parameters | {"AllocationId": parameters.get("InstanceId", "")})
    eip["DeletionProtection"] = parameters.get("ProtectionEnable", "").lower() == "true"
    return {}


def _release(api: CloudApi, parameters: Parameters) -> Answer:
    eip = _eip(api, parameters)
    if eip["BandwidthPackageId"]:
        raise ApiError("InvalidOperation.BandwidthPackage", "The specified eip is in a bandwidth package.")
    if eip["Status"] == "InUse":
        raise ApiError("IncorrectEipStatus", "The specified eip is in use.")
    if eip["DeletionProtection"]:
        raise ApiError("OperationDenied.DeletionProtection", "The deletion protection of the eip is on.")
    del api.eips[eip["AllocationId"]]
    return {}


Action = Callable[[CloudApi, Parameters], Answer]

CONTROLLER_ACTIONS: dict[str, Action] = {}
"""Actions of a cloud controller: those of controller_api.py, which it adds here."""

_ACTIONS: dict[str, Action] = {
    "CreateLoadBalancer": _create_clb,
    "DescribeLoadBalancerAttribute": lambda api, parameters: dict(find_clb(api, parameters)),
    "DeleteLoadBalancer": _delete_clb,
    "SetLoadBalancerName": _set_clb("LoadBalancerName"),
    "SetLoadBalancerDeleteProtection": _set_clb("DeleteProtection"),
    "SetLoadBalancerModificationProtection": _set_clb("ModificationProtectionStatus", "ModificationProtectionReason"),
    "ModifyLoadBalancerInstanceSpec": _set_clb("LoadBalancerSpec"),
    "ModifyLoadBalancerInstanceChargeType": _set_clb("InstanceChargeType", "LoadBalancerSpec"),
    "ModifyLoadBalancerInternetSpec": _set_clb("Bandwidth", "InternetChargeType"),
    "TagResources": _tag,
    "UntagResources": _untag,
    "UnTagResources": _untag,
    "ListTagResources": _list_tags,
    "DescribeVSwitchAttributes": _describe_vswitch,
    "AllocateEipAddress": _allocate,
    "DescribeEipAddresses": _describe_eips,
    "AssociateEipAddress": _associate,
    "UnassociateEipAddress": _unassociate,
    "ModifyEipAddressAttribute": _modify_eip,
    "DeletionProtection": _protect_eip,
    "ReleaseEipAddress": _release,
    "AddCommonBandwidthPackageIp": _add_to_package,
    "RemoveCommonBandwidthPackageIp": _remove_from_package,
    "DescribeCommonBandwidthPackages": _describe_packages,
}

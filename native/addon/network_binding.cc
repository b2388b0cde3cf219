#include "addon/network_binding.h"

#include "addon/async_task.h"
#include "addon/napi_args.h"
#include "kernel/conntrack.h"
#include "kernel/namespace_socket.h"
#include "kernel/pod_network.h"
#include "kernel/pod_table.h"

namespace cais {

namespace {

// For exports with one argument, a string.
Napi::Value RunOnText(const Napi::CallbackInfo& info, const char* name,
                      Status (*work)(const std::string&)) {
  Args args(info);
  const std::string text = args.At(0, name).Text();
  if (!args.ok()) return info.Env().Undefined();
  return RunAsync(info.Env(), [text, work] { return work(text); });
}

constexpr int64_t kMaxPort = 65535;

std::vector<HostPort> HostPorts(const Arg& list) {
  std::vector<HostPort> ports;
  for (const Arg& element : list.List()) {
    HostPort port;
    port.protocol = static_cast<uint8_t>(element.Field("protocol").Integer(0, 255));
    port.host_ip = element.Field("hostIp").OptionalText().value_or("");
    port.host_port = static_cast<uint16_t>(element.Field("hostPort").Integer(1, kMaxPort));
    port.pod_ip = element.Field("podIp").Text();
    port.pod_port = static_cast<uint16_t>(element.Field("podPort").Integer(1, kMaxPort));
    ports.push_back(port);
  }
  return ports;
}

Napi::Value ChangeHostPorts(const Napi::CallbackInfo& info,
                            Status (*work)(const std::string&, const std::vector<HostPort>&)) {
  Args args(info);
  const Arg options = args.At(0, "options");
  const std::string table = options.Field("table").Text();
  const std::vector<HostPort> ports = HostPorts(options.Field("ports"));
  if (!args.ok()) return info.Env().Undefined();
  return RunAsync(info.Env(), [=] { return work(table, ports); });
}

}  // namespace

Napi::Value ListLinks(const Napi::CallbackInfo& info) {
  return RunAsync<std::vector<NetworkLink>>(
      info.Env(), [] { return ListLinks(); },
      [](Napi::Env env, std::vector<NetworkLink>& links) -> Napi::Value {
        Napi::Array array = Napi::Array::New(env, links.size());
        for (uint32_t i = 0; i < links.size(); ++i) {
          Napi::Array addresses = Napi::Array::New(env, links[i].addresses.size());
          for (uint32_t j = 0; j < links[i].addresses.size(); ++j) {
            addresses.Set(j, links[i].addresses[j]);
          }
          Napi::Object link = Napi::Object::New(env);
          link.Set("name", links[i].name);
          link.Set("index", links[i].index);
          link.Set("kind", links[i].kind);
          link.Set("up", links[i].up);
          link.Set("addresses", addresses);
          array.Set(i, link);
        }
        return array;
      });
}

Napi::Value EnsureBridge(const Napi::CallbackInfo& info) {
  Args args(info);
  const Arg options = args.At(0, "options");
  BridgeLink bridge;
  bridge.name = options.Field("name").Text();
  bridge.address_cidr = options.Field("addressCidr").Text();
  bridge.address6_cidr = options.Field("address6Cidr").OptionalText().value_or("");
  if (!args.ok()) return info.Env().Undefined();
  return RunAsync(info.Env(), [bridge] { return EnsureBridge(bridge); });
}

Napi::Value AddPodInterface(const Napi::CallbackInfo& info) {
  Args args(info);
  const Arg options = args.At(0, "options");
  PodInterface pod;
  pod.netns_path = options.Field("netnsPath").Text();
  pod.bridge = options.Field("bridge").Text();
  pod.host_name = options.Field("hostName").Text();
  pod.address_cidr = options.Field("addressCidr").Text();
  pod.gateway = options.Field("gateway").Text();
  pod.address6_cidr = options.Field("address6Cidr").OptionalText().value_or("");
  pod.gateway6 = options.Field("gateway6").OptionalText().value_or("");
  if (!args.ok()) return info.Env().Undefined();
  return RunAsync<PodLink>(
      info.Env(), [pod] { return AddPodInterface(pod); },
      [](Napi::Env env, PodLink& link) -> Napi::Value {
        Napi::Object result = Napi::Object::New(env);
        result.Set("macAddress", link.mac_address);
        result.Set("hasIpv6", link.has_ipv6);
        return result;
      });
}

Napi::Value SetLoopbackUp(const Napi::CallbackInfo& info) {
  return RunOnText(info, "netnsPath", &cais::SetLoopbackUp);
}

Napi::Value RemoveLink(const Napi::CallbackInfo& info) {
  return RunOnText(info, "name", &cais::RemoveLink);
}

Napi::Value EnsurePodTable(const Napi::CallbackInfo& info) {
  Args args(info);
  const Arg options = args.At(0, "options");
  PodTable table;
  table.table = options.Field("table").Text();
  table.bridge = options.Field("bridge").Text();
  table.subnet_cidr = options.Field("subnetCidr").Text();
  table.subnet6_cidr = options.Field("subnet6Cidr").OptionalText().value_or("");
  if (!args.ok()) return info.Env().Undefined();
  return RunAsync<PodTableState>(
      info.Env(), [table] { return EnsurePodTable(table); },
      [](Napi::Env env, PodTableState& state) -> Napi::Value {
        Napi::Object result = Napi::Object::New(env);
        result.Set("created", state.created);
        result.Set("ipv6Loopback", state.ipv6_loopback);
        return result;
      });
}

Napi::Value RemovePodTable(const Napi::CallbackInfo& info) {
  return RunOnText(info, "table", &cais::RemovePodTable);
}

Napi::Value AddHostPorts(const Napi::CallbackInfo& info) {
  return ChangeHostPorts(info, &cais::AddHostPorts);
}

Napi::Value RemoveHostPorts(const Napi::CallbackInfo& info) {
  return ChangeHostPorts(info, &cais::RemoveHostPorts);
}

Napi::Value ForgetUdpFlows(const Napi::CallbackInfo& info) {
  Args args(info);
  const Arg options = args.At(0, "options");
  UdpFlows flows;
  for (const Arg& port : options.Field("hostPorts").List()) {
    flows.host_ports.push_back(static_cast<uint16_t>(port.Integer(1, kMaxPort)));
  }
  for (const Arg& ip : options.Field("podIps").List()) flows.pod_ips.push_back(ip.Text());
  if (!args.ok()) return info.Env().Undefined();
  return RunAsync(info.Env(), [flows] { return ForgetUdpFlows(flows); });
}

Napi::Value ConnectInNamespace(const Napi::CallbackInfo& info) {
  constexpr int64_t kMaxTimeoutMs = 60'000;
  Args args(info);
  const Arg options = args.At(0, "options");
  NamespaceAddress to;
  to.netns_path = options.Field("netnsPath").Text();
  to.ip = options.Field("ip").Text();
  to.port = static_cast<uint16_t>(options.Field("port").Integer(1, kMaxPort));
  to.timeout_ms = static_cast<int>(options.Field("timeoutMs").Integer(1, kMaxTimeoutMs));
  if (!args.ok()) return info.Env().Undefined();
  AsyncPool* pool = &Data(info.Env()).pool;
  return RunAsync<UniqueFd>(
      info.Env(),
      [to, pool] { return ConnectInNamespace(to, [pool] { return pool->stopping(); }); },
      [](Napi::Env env, UniqueFd& fd) -> Napi::Value {
        return Napi::Number::New(env, fd.Release());
      });
}

}  // namespace cais

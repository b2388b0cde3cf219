#include "addon/network_binding.h"

#include "addon/async_task.h"
#include "addon/napi_args.h"
#include "kernel/nftables.h"
#include "kernel/pod_network.h"

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
  const std::string name = options.Field("name").Text();
  const std::string address_cidr = options.Field("addressCidr").Text();
  if (!args.ok()) return info.Env().Undefined();
  return RunAsync(info.Env(), [=] { return EnsureBridge(name, address_cidr); });
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
  if (!args.ok()) return info.Env().Undefined();
  return RunAsync<std::string>(
      info.Env(), [pod] { return AddPodInterface(pod); },
      [](Napi::Env env, std::string& mac_address) -> Napi::Value {
        Napi::Object result = Napi::Object::New(env);
        result.Set("macAddress", mac_address);
        return result;
      });
}

Napi::Value SetLoopbackUp(const Napi::CallbackInfo& info) {
  return RunOnText(info, "netnsPath", &cais::SetLoopbackUp);
}

Napi::Value RemoveLink(const Napi::CallbackInfo& info) {
  return RunOnText(info, "name", &cais::RemoveLink);
}

Napi::Value EnsureMasquerade(const Napi::CallbackInfo& info) {
  Args args(info);
  const Arg options = args.At(0, "options");
  const std::string table = options.Field("table").Text();
  const std::string bridge = options.Field("bridge").Text();
  const std::string subnet_cidr = options.Field("subnetCidr").Text();
  if (!args.ok()) return info.Env().Undefined();
  return RunAsync(info.Env(), [=] { return EnsureMasquerade(table, bridge, subnet_cidr); });
}

Napi::Value RemoveMasquerade(const Napi::CallbackInfo& info) {
  return RunOnText(info, "table", &cais::RemoveMasquerade);
}

}  // namespace cais

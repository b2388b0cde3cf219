#include <napi.h>

#include "addon/async_task.h"
#include "addon/cgroup_binding.h"
#include "addon/layer_binding.h"
#include "addon/mount_binding.h"
#include "addon/network_binding.h"
#include "addon/process_binding.h"

namespace {

// Same as NATIVE_ABI in src/native.ts.
constexpr int kAbi = 7;

void SetErrorClass(const Napi::CallbackInfo& info) {
  cais::Data(info.Env()).error_class = Napi::Persistent(info[0].As<Napi::Function>());
}

// Every export, with the names and the order of NativeBinding in src/native.ts;
// test/native-boundary.test.ts compares them.
Napi::Object Init(Napi::Env env, Napi::Object exports) {
  using namespace cais;
  env.SetInstanceData(new AddonData(env));
  exports.Set("abi", Napi::Number::New(env, kAbi));
  exports.Set("setErrorClass", Napi::Function::New(env, SetErrorClass));

  // layer_binding.cc
  exports.Set("LayerJob", DefineLayerJob(env));
  exports.Set("digestLayerImage", Napi::Function::New(env, DigestLayerImage));
  exports.Set("buildMendLayer", Napi::Function::New(env, BuildMendLayer));

  // mount_binding.cc
  exports.Set("probeLayerImage", Napi::Function::New(env, ProbeLayerImage));
  exports.Set("mountLayerImage", Napi::Function::New(env, MountLayerImage));
  exports.Set("mountOverlay", Napi::Function::New(env, MountOverlay));
  exports.Set("readFileInRoot", Napi::Function::New(env, ReadFileInRoot));
  exports.Set("kindInRoot", Napi::Function::New(env, KindInRoot));
  exports.Set("removeTree", Napi::Function::New(env, RemoveTree));
  exports.Set("treeUsage", Napi::Function::New(env, TreeUsage));
  exports.Set("syncFile", Napi::Function::New(env, SyncFile));
  exports.Set("syncFilesystem", Napi::Function::New(env, SyncFilesystem));
  exports.Set("lockFile", Napi::Function::New(env, LockFile));

  // cgroup_binding.cc
  exports.Set("cgroupLayout", Napi::Function::New(env, CgroupLayout));
  exports.Set("createCgroup", Napi::Function::New(env, CreateCgroup));
  exports.Set("updateCgroup", Napi::Function::New(env, UpdateCgroup));
  exports.Set("killCgroup", Napi::Function::New(env, KillCgroup));
  exports.Set("removeCgroup", Napi::Function::New(env, RemoveCgroup));
  exports.Set("readCgroupStats", Napi::Function::New(env, ReadCgroupStats));
  exports.Set("setOomScore", Napi::Function::New(env, SetOomScore));

  // network_binding.cc
  exports.Set("listLinks", Napi::Function::New(env, ListLinks));
  exports.Set("ensureBridge", Napi::Function::New(env, EnsureBridge));
  exports.Set("addPodInterface", Napi::Function::New(env, AddPodInterface));
  exports.Set("setLoopbackUp", Napi::Function::New(env, SetLoopbackUp));
  exports.Set("removeLink", Napi::Function::New(env, RemoveLink));
  exports.Set("ensurePodTable", Napi::Function::New(env, EnsurePodTable));
  exports.Set("removePodTable", Napi::Function::New(env, RemovePodTable));
  exports.Set("addHostPorts", Napi::Function::New(env, AddHostPorts));
  exports.Set("removeHostPorts", Napi::Function::New(env, RemoveHostPorts));
  exports.Set("forgetUdpFlows", Napi::Function::New(env, ForgetUdpFlows));
  exports.Set("connectInNamespace", Napi::Function::New(env, ConnectInNamespace));

  // process_binding.cc
  exports.Set("compileSeccomp", Napi::Function::New(env, CompileSeccomp));
  exports.Set("spawnSupervisor", Napi::Function::New(env, SpawnSupervisor));
  exports.Set("Channel", DefineChannel(env));
  exports.Set("closeOnExecAll", Napi::Function::New(env, CloseOnExecAll));
  exports.Set("openFilesLimit", Napi::Function::New(env, OpenFilesLimit));
  exports.Set("createPipe", Napi::Function::New(env, CreatePipe));
  exports.Set("createSocketPair", Napi::Function::New(env, CreateSocketPair));
  exports.Set("sendDatagram", Napi::Function::New(env, cais::SendDatagram));
  return exports;
}

}  // namespace

NODE_API_MODULE(cais, Init)

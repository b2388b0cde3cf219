#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "supervisor/connection.h"
#include "supervisor/container.h"
#include "supervisor/event_loop.h"
#include "supervisor/sandbox.h"

namespace cais {

class RecordReader;
struct LaunchRequest;

// The running supervisor: clients on one side, processes on the other.
class Supervisor {
 public:
  // `sandbox` is borrowed.
  explicit Supervisor(Sandbox& sandbox, EventLoop loop);

  // Serves until SHUTDOWN is done, or the owner is gone and wanted `kill`.
  Status Run();

 private:
  struct PendingShutdown {
    uint64_t requester;
    uint32_t request_id;
  };

  // Clients: supervisor_frames.cc
  void OnConnect();
  void OnFrame(Connection& client, Frame frame);
  void OnClosed(Connection& client);
  void Handle(Connection& client, Frame& frame, RecordReader& record);
  void Hello(Connection& client, const Frame& frame, RecordReader& record);
  void AnswerStatus(Connection& client, const Frame& frame);
  void StopContainers(Connection& client, const Frame& frame, RecordReader& record);
  void GiveDescriptors(Connection& client, const Frame& frame, RecordReader& record);
  void Keep(Connection& client, Frame& frame, RecordReader& record);
  void Start(Connection& client, Frame& frame);
  void ReopenLog(Connection& client, const Frame& frame, RecordReader& record);
  void Resize(Connection& client, const Frame& frame, RecordReader& record);
  void Attach(Connection& client, Frame& frame, RecordReader& record);
  void Forget(Connection& client, const Frame& frame, RecordReader& record);
  void Fail(Connection& client, uint32_t request_id, const Failure& failure);
  Connection* FindClient(uint64_t serial);
  Container* FindRunning(const std::string& id);
  Connection* Owner();

  // Processes: supervisor.cc
  void OnReport(Container& container);
  // The container goes on in another process, which this is the pidfd of.
  void TakeChild(Container& container, UniqueFd pidfd);
  void OnStarted(Container& container);
  void OnStartFailed(Container& container, const std::string& failed_record);
  void OnSignal();
  void ReapChildren();
  void OnExit(Container& container, int wait_status);
  void OnDrained(Container& container);
  void LimitExitedExecs();
  void RemoveExecCgroup(const Container& container);
  void EndSandbox(int64_t grace_ms);
  void KillEverything();
  void CheckEnded();
  void RemoveOwnTraces();

  // Containers of external OCI runtimes: supervisor_oci.cc
  struct Operation {
    pid_t pid;  // a process of a runtime
    EventLoop::TimerId deadline;
    std::function<void(int wait_status)> on_exit;
  };
  void StartOci(Connection& client, uint32_t request_id, LaunchRequest& request);
  void AddOperation(pid_t pid, int64_t timeout_ms, std::function<void(int)> on_exit);
  bool FinishOperation(pid_t pid, int wait_status);
  void RememberOrphan(pid_t pid, int wait_status);
  void OnOciCreated(Container& container, int wait_status);
  Status AdoptOciProcess(Container& container);
  Status ServeOciStdio(Container& container);
  void OnOciStarted(Container& container);
  void FailOci(Container& container, const std::string& failed_record);
  void Signal(Container& container, int signal);
  void DeleteOciContainers();

  Sandbox& sandbox_;
  EventLoop loop_;
  UniqueFd signals_;
  std::list<std::unique_ptr<Connection>> clients_;
  uint64_t next_serial_ = 1;
  // In the order of their starts.
  std::list<std::unique_ptr<Container>> containers_;
  std::map<std::string, UniqueFd> kept_;
  // Of execs that left processes behind; tried again with every later one, and gone with the
  // container's.
  std::vector<std::string> busy_cgroups_;
  OnOwnerExit on_owner_exit_;
  bool ending_ = false;
  bool remove_traces_ = false;
  std::vector<PendingShutdown> shutdowns_;
  std::list<Operation> operations_;
  // How children ended that nobody knew, while operations run: one may be what a runtime made.
  std::map<pid_t, int> orphan_exits_;
};

}  // namespace cais

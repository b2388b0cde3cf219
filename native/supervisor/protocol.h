#pragma once

// Numbers of PROTOCOL.md. src/runtime/supervisor-protocol.ts holds the same ones;
// test/runtime/supervisor-protocol.test.ts compares the two files. A number is never reused.

#include <cstddef>
#include <cstdint>

namespace cais {

constexpr int64_t kProtocolVersion = 1;
constexpr size_t kFieldHeaderBytes = 8;
// From this tag on an unknown field is skipped, below it is refused.
constexpr uint16_t kFirstOptionalTag = 0x8000;

enum class FrameType : uint16_t {
  kHello = 1,
  kWelcome = 2,
  kStatus = 3,
  kStatusAnswer = 4,
  kStop = 5,
  kGiveDescriptors = 6,
  kDescriptors = 7,
  kStart = 8,
  kStarted = 9,
  kFailed = 10,
  kExited = 11,
  kOk = 12,
  kReopenLog = 13,
  kResize = 14,
  kAttach = 15,
  kKeep = 16,
  kForget = 17,
  kShutdown = 18,
};

enum class SandboxField : uint16_t {
  kId = 1,
  kRunDirectory = 2,
  kNamespace = 3,
  kHostname = 4,
  kSysctl = 5,
  kSupervisorCgroup = 6,
  kOpenFilesSoft = 7,
  kOpenFilesHard = 8,
  kOnOwnerExit = 9,
  kSandboxCgroup = 10,
  kShmSizeBytes = 11,
  kUidRange = 12,
  kGidRange = 13,
};

enum class IdRangeField : uint16_t { kInside = 1, kOutside = 2, kLength = 3 };

enum class SysctlField : uint16_t { kKey = 1, kValue = 2 };

// What the program writes to descriptor 3: the process, or why there is none.
enum class StartResultField : uint16_t {
  kStep = 1,
  kErrno = 2,
  kPath = 3,
  kMessage = 4,
  kPid = 5,
  kStartTicks = 6,
};

enum class HelloField : uint16_t { kVersion = 1, kOwner = 2, kOnOwnerExit = 3 };
enum class WelcomeField : uint16_t { kVersion = 1, kSandboxId = 2, kPid = 3, kBootId = 4 };
enum class StatusField : uint16_t { kContainer = 1, kHasOwner = 2 };
enum class ContainerField : uint16_t {
  kId = 1,
  kKind = 2,
  kState = 3,
  kPid = 4,
  kStartTicks = 5,
  kExitCode = 6,
  kSignal = 7,
  kOomKilled = 8,
  kStartedAtNanos = 9,
  kFinishedAtNanos = 10,
  kLogEntriesDropped = 0x8001,
};
enum class StopField : uint16_t { kId = 1, kSignal = 2 };
enum class GiveField : uint16_t { kWhat = 1, kKey = 2 };
enum class DescriptorsField : uint16_t { kKey = 1 };
enum class StartedField : uint16_t { kId = 1, kPid = 2, kStartTicks = 3, kStartedAtNanos = 4 };
enum class FailedField : uint16_t { kStep = 1, kErrno = 2, kPath = 3, kMessage = 4 };
enum class ExitedField : uint16_t {
  kId = 1,
  kExitCode = 2,
  kSignal = 3,
  kOomKilled = 4,
  kStartedAtNanos = 5,
  kFinishedAtNanos = 6,
};
enum class ReopenLogField : uint16_t { kId = 1 };
enum class ResizeField : uint16_t { kId = 1, kRows = 2, kColumns = 3 };
enum class AttachField : uint16_t { kId = 1, kStdin = 2, kStdout = 3, kStderr = 4 };
enum class KeepField : uint16_t { kKey = 1 };
enum class ForgetField : uint16_t { kId = 1 };
enum class ShutdownField : uint16_t { kGraceMillis = 1 };

enum class LaunchField : uint16_t {
  kId = 1,
  kKind = 2,
  kArgument = 3,
  kEnvironment = 4,
  kWorkingDirectory = 5,
  kTerminal = 6,
  kRows = 7,
  kColumns = 8,
  kStdin = 9,
  kStdioFds = 10,
  kLogDirectory = 11,
  kLogPath = 12,
  kUid = 13,
  kGid = 14,
  kGroup = 15,
  kUmask = 16,
  kRootReadonly = 17,
  kMount = 18,
  kDevice = 19,
  kMaskedPath = 20,
  kReadonlyPath = 21,
  kRlimit = 22,
  kOomScoreAdj = 23,
  kBounding = 24,
  kEffective = 25,
  kPermitted = 26,
  kInheritable = 27,
  kAmbient = 28,
  kNoNewPrivileges = 29,
  kSeccomp = 30,
  kSeccompFlags = 31,
  kCgroup = 32,
  kPidNamespace = 33,
  kPidTarget = 34,
  kExecTarget = 35,
  kRootFd = 36,
  kPersonality = 37,
  kFile = 39,
  kStopSignal = 40,
  kDirectory = 41,
  kForgetOnExit = 65,
  kOwnCgroup = 66,
  kTerminalClient = 67,
  kAppArmorProfile = 42,
  kOciProgram = 55,
  kOciOption = 56,
  kOciRoot = 57,
  kOciBundle = 58,
  kOciMount = 59,
};

enum class MountField : uint16_t {
  kType = 1,
  kDestination = 2,
  kSource = 3,
  kFlags = 4,
  kPropagation = 5,
  kData = 6,
  kRecursiveReadonly = 7,
  kSourceFd = 8,
  kUidRange = 9,
  kGidRange = 10,
  kSubPath = 11,
};
enum class DeviceField : uint16_t {
  kPath = 1,
  kType = 2,
  kMajor = 3,
  kMinor = 4,
  kMode = 5,
  kUid = 6,
  kGid = 7,
};
enum class RlimitField : uint16_t { kResource = 1, kSoft = 2, kHard = 3 };
enum class FileField : uint16_t { kDestination = 1, kContent = 2, kMode = 3 };
enum class OciMountField : uint16_t { kPath = 1, kSourceFd = 2, kSubPath = 3 };
enum class OverlayField : uint16_t { kDirectory = 1, kOptions = 2 };

enum class LaunchKind : uint8_t { kContainer = 0, kExec = 1, kPause = 2 };
enum class ContainerState : uint8_t { kCreated = 1, kRunning = 2, kExited = 3 };
enum class StdinMode : uint8_t { kNull = 0, kPipe = 1, kPipeOnce = 2 };
enum class PidNamespace : uint8_t { kOwn = 0, kPod = 1, kHost = 2, kTarget = 3 };
enum class OnOwnerExit : uint8_t { kKeep = 0, kKill = 1 };

}  // namespace cais

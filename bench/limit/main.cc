// Measures what extraction cannot do without, one stage at a time and each alone. Prints one line
// of JSON.
//
//   limit streams gzip|zstd BLOB TAR DIGEST DIFF_ID DIRECTORY
//     decompression, both digests, both files in DIRECTORY
//   limit create 1|2 TAR DIRECTORY
//     the tree in DIRECTORY/tree, by one or two threads
//   limit download PORT PATH BYTES [PATH BYTES]…
//     blobs from a registry on loopback, thrown away
//   limit read DIRECTORY
//     every file of a tree
//   limit ballast
//     measures nothing: holds memory and frees it as standard input says (ballast.h)
//   limit standstills
//     when the whole machine stood still, until standard input ends
//   limit placement
//     where the host runs the two processors, as standard input asks (placement.h)
#include <isa-l.h>
#include <openssl/crypto.h>
#include <zstd.h>

#include <cerrno>
#include <cstdio>
#include <string>
#include <vector>

#include "ballast.h"
#include "download.h"
#include "file.h"
#include "memory.h"
#include "placement.h"
#include "standstill.h"
#include "stream_stages.h"
#include "tar_entries.h"
#include "tree_creation.h"
#include "tree_reading.h"

namespace {

using Arguments = std::vector<std::string>;

std::string RunStreams(const Arguments& arguments) {
  const std::string& directory = arguments[5];
  const Bytes blob = ReadFile(arguments[1]);
  const Bytes tar = ReadFile(arguments[2]);
  const Stopwatch decompress =
      arguments[0] == "zstd" ? MeasureZstd(blob, tar) : MeasureGzip(blob, tar);
  return decompress.ToJson("decompress") + "," +
         MeasureSha256(blob, arguments[3]).ToJson("sha256-blob") + "," +
         MeasureSha256(tar, arguments[4]).ToJson("sha256-tar") + "," +
         MeasureWrite(blob, directory + "/blob").ToJson("write-blob") + "," +
         MeasureWrite(tar, directory + "/tar").ToJson("write-tar");
}

std::string RunCreate(const Arguments& arguments) {
  const Bytes tar = ReadFile(arguments[1]);
  const Tree tree = ReadTar(tar);
  MakeMemoryResident(tar.size());
  const int threads = arguments[0] == "2" ? 2 : 1;
  return MeasureCreation(tree, arguments[2] + "/tree", threads).ToJson("create-" + arguments[0]);
}

std::string RunDownload(const Arguments& arguments) {
  Registry registry(std::stoi(arguments[0]));
  std::string json;
  for (size_t i = 1; i + 1 < arguments.size(); i += 2) {
    const Stopwatch watch = registry.MeasureDownload(arguments[i], std::stoull(arguments[i + 1]));
    json += (json.empty() ? "" : ",") + watch.ToJson("transfer-" + std::to_string(i / 2));
  }
  return json;
}

std::string RunRead(const Arguments& arguments) {
  const TreeReading reading = MeasureReading(arguments[0]);
  return reading.watch.ToJson("read") + ",\"entries\":" + std::to_string(reading.entries) +
         ",\"bytes\":" + std::to_string(reading.bytes);
}

std::string DescribeVersions() {
  return std::string("\"zstd\":\"") + ZSTD_versionString() + "\",\"openssl\":\"" +
         OpenSSL_version(OPENSSL_VERSION_STRING) + "\",\"isa-l\":\"" +
         std::to_string(ISAL_MAJOR_VERSION) + "." + std::to_string(ISAL_MINOR_VERSION) + "." +
         std::to_string(ISAL_PATCH_VERSION) + "\"";
}

}  // namespace

int main(int argc, char** argv) {
  const std::string command = argc > 1 ? argv[1] : "";
  const Arguments arguments(argv + (argc > 1 ? 2 : 1), argv + argc);
  std::string json;
  if (command == "streams" && arguments.size() == 6) {
    json = RunStreams(arguments);
  } else if (command == "create" && arguments.size() == 3) {
    json = RunCreate(arguments);
  } else if (command == "download" && arguments.size() >= 3 && arguments.size() % 2 == 1) {
    json = RunDownload(arguments);
  } else if (command == "read" && arguments.size() == 1) {
    json = RunRead(arguments);
  } else if (command == "ballast" && arguments.empty()) {
    KeepBallast();
    return 0;
  } else if (command == "placement" && arguments.empty()) {
    WatchPlacement();
    return 0;
  } else if (command == "standstills" && arguments.empty()) {
    json = WatchForStandstills();
  } else if (command == "versions" && arguments.empty()) {
    json = DescribeVersions();
  } else {
    errno = 0;
    Fail("wrong arguments; main.cc describes them");
  }
  std::printf("{%s}\n", json.c_str());
  return 0;
}

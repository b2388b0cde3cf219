#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/result.h"
#include "kernel/unique_fd.h"
#include "layer/blob_writer.h"
#include "layer/decompress.h"
#include "layer/layer_end.h"
#include "layer/piece.h"
#include "layer/thread.h"

namespace cais {

struct PipelineOptions {
  // Where `blob` and `layer` are written; shown in messages.
  std::string directory;
  bool save_blob = true;
  BlobExpectation expected_blob;
  std::optional<std::string> expected_diff_id;
  GzipLibrary gzip_library = GzipLibrary::kFastest;
  uint64_t max_tar_bytes = 0;
  EndLimits end_limits{};
  // Opens the end, on the thread that will drive it.
  std::function<Result<std::unique_ptr<LayerEnd>>(int directory_fd, const EndLimits&)> open_end;
  // Called on any thread when Write() has answered false and there is room again.
  std::function<void()> on_room;
  // Called once, on the last thread of the pipeline as its last act: nothing touches the directory
  // any more. The pipeline must not be destroyed inside it.
  std::function<void()> on_end;
};

struct LayerOutcome {
  BlobSummary blob;
  std::string diff_id;
  uint64_t tar_bytes = 0;
  Compression compression = Compression::kNone;
  EndSummary layer;
};

// One pass over a layer, each stage on a thread of its own:
//
//   Write ──┐
//           ├─▶ intake: blob file, SHA-256, size ─▶ decompression ─┬─▶ SHA-256 of the tar
//   file  ──┘                                                      └─▶ tar reader ─▶ end
//
// Pieces of 512 KiB go from stage to stage; each of the two kinds (compressed, tar) comes from a
// bounded pool, so that the slowest stage slows all others down to the producer. An uncompressed
// layer is not copied and hashed only once.
//
// The first failure of any stage stops all of them, at their next piece.
class LayerPipeline {
 public:
  // Opens the directory and starts the threads.
  static Result<std::unique_ptr<LayerPipeline>> Start(PipelineOptions options);
  // Aborts, and waits for the threads.
  ~LayerPipeline();
  LayerPipeline(const LayerPipeline&) = delete;
  LayerPipeline& operator=(const LayerPipeline&) = delete;

  // The producer is one thread, and uses either Write and CloseInput or ReadFrom.
  // Copies `bytes`, never waits. False: no room for more before `on_room`. After a failure it
  // swallows the bytes.
  bool Write(std::string_view bytes);
  void CloseInput();
  // Reads `fd` (borrowed, until the end) from its position to its end on a thread of the pipeline.
  Status ReadFrom(int fd);

  // Any thread: makes the pipeline fail with ABORTED, unless it has ended already.
  void Abort();

  // After `on_end`, once.
  Result<LayerOutcome> TakeOutcome();

 private:
  explicit LayerPipeline(PipelineOptions options);

  using Stage = Status (LayerPipeline::*)();
  Status StartThread(const char* name, Stage stage);
  void RunStage(Stage stage);
  void Leave();
  void Fail(Failure failure);
  bool failed();

  // The stages. Each returns Done, too, when another one has stopped the pipeline.
  Status FeedFromFile();
  Status Intake();
  Status Decode();
  Status HashTar();
  Status ReadTar();

  // Parts of Decode().
  Status PassThrough(PieceRef piece);
  Status Decompress(PieceRef piece);
  Status PublishTar(PieceRef piece);
  Status CheckDiffId(std::string diff_id);

  PipelineOptions options_;
  UniqueFd directory_;
  UniqueFd stop_event_;
  int source_fd_ = -1;

  // Before the queues: pieces go back to their pool.
  PiecePool blob_pool_;
  PiecePool tar_pool_;
  PieceRef writing_;  // what Write() fills
  PieceQueue intake_queue_;
  PieceQueue decode_queue_;
  PieceQueue hash_queue_;
  PieceQueue tar_queue_;

  std::mutex mutex_;
  std::optional<Failure> failure_;  // guarded by mutex_
  // Threads that have not left, and one for Start() itself; guarded by mutex_.
  size_t running_ = 1;
  LayerOutcome outcome_;  // each field by the stage that makes it

  std::vector<Thread> threads_;
};

}  // namespace cais

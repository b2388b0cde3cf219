#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "kernel/result.h"
#include "kernel/unique_fd.h"
#include "layer/blob_writer.h"
#include "layer/decompress.h"
#include "layer/layer_end.h"
#include "layer/piece.h"
#include "layer/sha256.h"
#include "layer/socket_source.h"
#include "layer/tar_reader.h"
#include "layer/thread.h"
#include "layer/workers.h"

namespace cais {

struct PipelineOptions {
  // Where `blob` and `layer` are written; shown in messages.
  std::string directory;
  bool save_blob = true;
  // What is known of the blob before its bytes come; digests are "sha256:<hex>".
  std::optional<std::string> expected_digest;
  std::optional<uint64_t> expected_bytes;
  std::optional<std::string> expected_diff_id;
  // It is given to CloseInput() instead: not for ReadFrom().
  bool diff_id_follows = false;
  GzipLibrary gzip_library = GzipLibrary::kOwn;
  uint64_t max_tar_bytes = 0;
  EndLimits end_limits{};
  // Opens the end, on the thread that will drive it.
  std::function<Result<std::unique_ptr<LayerEnd>>(int directory_fd, const EndLimits&, Workers&)>
      open_end;
  // Called on any thread when Write() has answered false and there is room again.
  std::function<void()> on_room;
  // Called on any thread when Receive() is over.
  std::function<void()> on_received;
  // Called once, on the last thread of the pipeline as its last act: nothing touches the directory
  // any more. The pipeline must not be destroyed inside it.
  std::function<void()> on_end;
};

struct LayerOutcome {
  std::string digest;
  uint64_t blob_bytes = 0;
  std::string diff_id;
  uint64_t tar_bytes = 0;
  Compression compression = Compression::kNone;
  EndSummary layer;
};

// What became of a Receive().
struct Reception {
  uint64_t bytes = 0;
  // kNone: all bytes have come.
  SocketSource::End end = SocketSource::End::kNone;
  int error = 0;  // errno, when `end` is kFailed
};

// One pass over a layer, in stages which a few threads (Workers) do step by step, those that have
// something to do in turns:
//
//   Write  ──┐                             ┌─▶ SHA-256 of the blob
//   socket ──┼─▶ intake: blob file, size ──┴─▶ decompression ─┬─▶ SHA-256 of the tar
//   file   ──┘                                                └─▶ tar reader ─▶ end
//
// Decompression of zstd is two stages: reading blocks, and following them.
//
// Pieces of 512 KiB go from stage to stage; each of the two kinds (compressed, tar) comes from a
// bounded pool, so that the slowest stage slows all others down to the producer. An uncompressed
// layer is not copied and hashed only once.
//
// The first failure of any stage stops all of them, at their next piece.
class LayerPipeline {
 public:
  // Opens the directory. `workers` must outlive the pipeline.
  static Result<std::unique_ptr<LayerPipeline>> Start(Workers& workers, PipelineOptions options);
  // Aborts, and waits until nothing touches the directory any more.
  ~LayerPipeline();
  LayerPipeline(const LayerPipeline&) = delete;
  LayerPipeline& operator=(const LayerPipeline&) = delete;

  // The producer is one thread, and uses either Write, Receive and CloseInput or ReadFrom.
  // Copies `bytes`, never waits. False: no room for more before `on_room`. After a failure it
  // swallows the bytes.
  bool Write(std::string_view bytes);
  // With the diff ID where it follows; without it the layer is refused.
  void CloseInput(std::optional<std::string> diff_id = {});
  // Reads the next `bytes` bytes, more than none, from a connected stream socket on a thread of
  // the pipeline, as if they came by Write; `on_received` tells when that is over. Until then the
  // producer does nothing else. An `idle_timeout` without a byte ends it. False: it does not begin,
  // after a failure.
  Result<bool> Receive(UniqueFd socket, uint64_t bytes, std::chrono::milliseconds idle_timeout);
  // After `on_received`, on a thread that has heard of it. Does not wait for the feeding thread,
  // which may not have a core for its last few instructions.
  Reception TakeReception() const { return reception_; }
  // Any thread: what has come by Receive(), up to now and in all.
  uint64_t received_bytes() const { return received_bytes_; }
  // Reads `fd` (borrowed, until the end) from its position to its end on a thread of the pipeline.
  Status ReadFrom(int fd);

  // Any thread: makes the pipeline fail with ABORTED, unless it has ended already.
  void Abort();

  // After `on_end`, once.
  Result<LayerOutcome> TakeOutcome();

 private:
  LayerPipeline(Workers& workers, PipelineOptions options);

  using Step = Stage::Step;
  using StageFunction = Result<Step> (LayerPipeline::*)();
  using Urgency = Stage::Urgency;
  Stage::Options StageOptions(Urgency urgency, StageFunction run);
  void Leave();
  void Fail(Failure failure);
  bool failed();

  // Hands a piece, or the end of them, to the next stage.
  static void Hand(PieceQueue& queue, Stage& stage, PieceRef piece);
  static void CloseQueue(PieceQueue& queue, Stage& stage);

  // On a thread of its own, since a source may be slow: a pipe, a network.
  // False: not after a failure.
  Result<bool> StartFeeder(std::function<void()> feed);
  Status Feed();
  Reception ReceiveAll(SocketSource& source, uint64_t bytes);
  // Hands over what is in `writing_` when it is enough.
  void HandOver(size_t enough_bytes);

  // One step of each stage.
  Result<Step> Intake();
  Result<Step> HashBlob();
  Result<Step> Decode();
  Result<Step> Follow();
  Result<Step> HashTar();
  Result<Step> ReadTar();

  // Parts of Decode().
  Status OpenDecoder(std::string_view first_bytes);
  Result<Step> PassThrough();
  Result<Step> Decompress();
  Result<Step> EndDecode();
  Status PublishTar(PieceRef piece);
  void CloseTar();
  Status CheckDiffId(std::string diff_id);

  Workers& workers_;
  PipelineOptions options_;
  UniqueFd directory_;
  UniqueFd stop_event_;
  int source_fd_ = -1;

  std::mutex mutex_;
  std::condition_variable ended_changed_;
  std::optional<Failure> failure_;  // guarded by mutex_
  size_t running_ = 0;              // stages and threads that have not left; guarded by mutex_
  bool ended_ = false;              // after on_end; guarded by mutex_
  LayerOutcome outcome_;            // each field by the stage that makes it

  Stage intake_;
  Stage hash_blob_;
  Stage decode_;
  Stage follow_;
  Stage hash_tar_;
  Stage untar_;

  // After the stages, which they wake, and before the queues: pieces go back to their makers.
  PiecePool blob_pool_;
  std::unique_ptr<Decompressor> decompressor_;    // null: no compression, or not known yet
  PieceRef writing_;                              // what Write() and Receive() fill
  size_t hand_over_bytes_;                        // of that piece
  std::optional<std::string> following_diff_id_;  // before the intake queue is closed
  std::atomic<uint64_t> received_bytes_ = 0;
  Reception reception_;  // by the feeding thread
  PieceQueue intake_queue_;
  PieceQueue hash_blob_queue_;
  PieceQueue decode_queue_;
  PieceQueue hash_tar_queue_;
  PieceQueue untar_queue_;

  // What stages keep from step to step, each for itself.
  BlobWriter blob_;
  bool blob_open_ = false;
  Sha256 blob_sha256_;
  bool decoder_open_ = false;
  PieceRef compressed_;  // being decompressed
  std::string_view compressed_rest_;
  Sha256 tar_sha256_;
  std::unique_ptr<LayerEnd> end_;
  std::optional<TarReader> reader_;  // after end_, which it uses

  Thread feeder_;
};

}  // namespace cais

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/result.h"
#include "layer/layer_end.h"
#include "layer/pax_records.h"
#include "layer/sparse_map.h"
#include "layer/tar_header.h"

namespace cais {

struct TarLimits {
  uint64_t max_entries;
  // Names, link targets, xattrs and sparse maps of all entries together.
  uint64_t max_metadata_bytes;
};

// Push parser of a tar: takes it in pieces of any size and drives a LayerEnd; how the input is cut
// makes no difference to what the end sees, but for the lengths of single TarBytes and FileData
// calls, which are views into the pieces.
//
// Reads v7, ustar, pax (local and global), GNU (long names, base-256, old sparse) and star headers
// and the sparse formats 0.0, 0.1 and 1.0. In doubt it does what Go's archive/tar does, since that
// is what built and reads nearly all images: links, devices, directories and FIFOs have no data
// whatever their size field says; a type '\0' with a trailing slash is a directory; a tar may end
// without its two zero blocks, but only between members; bytes after them are not looked at.
//
// Refused: types that no layer has (volume headers, multi-volume parts, dumps, vendor types),
// global headers that name or measure a file.
//
// Memory: one header, one extended header (at most 1 MiB), one name and link, one sparse map.
class TarReader {
 public:
  TarReader(LayerEnd& end, const TarLimits& limits);

  // After a failure the reader must not be used again. BAD_TAR, TRUNCATED, REFUSED_ENTRY and
  // LIMIT_EXCEEDED come with the position and the name of the entry.
  Status Feed(std::string_view bytes);
  // The input is complete.
  Result<EndSummary> Finish();

 private:
  enum class State {
    kHeader,        // a block: header of a member, or zeros
    kExtension,     // a block: more of an old GNU sparse map
    kSparseMap,     // a block: map of sparse format 1.0, in front of the data
    kExtendedBody,  // data of a member that describes the next one
    kData,
    kPadding,
    kEnded,
  };

  Status OnBlock(std::string_view block);
  Status OnHeader(std::string_view block);
  Status OnZeroBlock();
  Status OnExtensionBlock(std::string_view block);
  Status OnSparseMapBlock(std::string_view block);
  Status BeginExtended(const TarHeader& header);
  Status EndExtended();
  Status BeginEntry(TarHeader header, std::string_view block);
  Status BeginFile(const TarHeader& header, std::string_view block, const PaxRecords& pax);
  Status BeginPaxSparse(const PaxRecords& pax);
  Status AddOldSparse(std::string_view fields, size_t count);
  Status EmitSparse();
  Status EmitEntry();
  Status OnData(std::string_view& bytes);
  Status EndData();
  void ForgetExtended();
  bool has_extended() const { return local_ || long_name_ || long_link_; }
  Failure Located(Failure failure) const;

  LayerEnd& end_;
  const TarLimits limits_;
  State state_ = State::kHeader;
  uint64_t position_ = 0;  // bytes consumed
  std::string block_;      // a block that came in parts
  bool zero_block_seen_ = false;

  // Descriptions of the next entry.
  PaxRecords global_;
  std::optional<PaxRecords> local_;
  std::optional<std::string> long_name_;
  std::optional<std::string> long_link_;
  char extended_type_ = 0;
  std::string extended_;
  uint64_t skip_bytes_ = 0;     // of the body (not yet in extended_), or of the padding
  uint64_t padding_bytes_ = 0;  // that follow the current body or data

  // The current entry.
  TarEntry entry_;
  uint64_t stored_bytes_ = 0;  // its data in the tar
  std::vector<uint64_t> old_sparse_map_;
  SparseMapParser sparse_map_;
  std::vector<DataRun> runs_;
  size_t run_ = 0;
  uint64_t run_done_bytes_ = 0;

  uint64_t entries_ = 0;
  uint64_t metadata_bytes_ = 0;
};

}  // namespace cais

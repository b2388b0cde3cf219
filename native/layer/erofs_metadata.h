#pragma once

#include <cstdint>
#include <vector>

#include "kernel/result.h"
#include "layer/erofs_format.h"
#include "layer/image_writer.h"
#include "layer/layer_tree.h"
#include "layer/sparse_plan.h"

namespace cais {

// Writes the EROFS metadata of a tree behind its tar, and then the head of the file:
//
//   4096          the tar
//   aligned 4096  inodes, each with its xattrs and its inline data (link target, chunk table)
//   aligned 512   directories, in the order of their inodes
//   aligned 512   link targets that do not fit into a block behind their inode
//   aligned 512   copies of pieces of sparse files
//   padding to 4096
//
// Two passes over the tree: Plan gives every inode its place, Write writes from front to back.
class ErofsMetadata {
 public:
  // Both are borrowed. `writer` stands behind the last byte of the tar.
  ErofsMetadata(LayerTree& tree, ImageWriter& writer);

  // Writes everything. LIMIT_EXCEEDED when the image would pass 2 TiB.
  Status Write();

 private:
  struct SparseFile {
    InodeId inode;
    SparsePlan plan;
    uint64_t first_copy_block;
  };

  Status Plan();
  uint64_t PlanDirectory(InodeId directory) const;
  uint64_t PlanInode(InodeId id);

  Status WriteInodes();
  Status WriteInode(InodeId id, const SparseFile* sparse);
  Status WriteXattrs(const LayerInode& inode);
  Status WriteChunkTable(const SparseFile& sparse);
  Status WriteDirectories();
  Status WriteDirectory(InodeId directory);
  Status WriteLinkTargets();
  Status WriteSparseCopies();
  Status WriteHead();

  LayerTree& tree_;
  ImageWriter& writer_;
  const std::vector<InodeId>& order_;
  std::vector<SparseFile> sparse_files_;  // in the order of order_
  uint64_t tar_bytes_ = 0;
  uint64_t meta_offset_ = 0;
  uint64_t inode_area_bytes_ = 0;
  uint64_t directory_blocks_ = 0;
  uint64_t link_blocks_ = 0;
  uint64_t copy_blocks_ = 0;
};

}  // namespace cais

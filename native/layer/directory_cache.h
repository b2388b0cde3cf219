#pragma once

#include <list>
#include <memory>
#include <unordered_map>
#include <utility>

#include "kernel/result.h"
#include "kernel/unique_fd.h"
#include "layer/layer_tree.h"

namespace cais {

// Open descriptors of the directories of a tree on the disk, the last used ones: entries of a tar
// come directory by directory, so nearly every one finds its directory open. No path of more than
// one name is ever given to the kernel.
class DirectoryCache {
 public:
  // `tree` is borrowed; `root` is the directory on the disk that stands for its root.
  DirectoryCache(const LayerTree& tree, std::shared_ptr<UniqueFd> root)
      : tree_(tree), root_(std::move(root)) {}

  // Shared, so that it stays open while the caller opens another one.
  Result<std::shared_ptr<UniqueFd>> Open(InodeId directory);

 private:
  static constexpr size_t kMaxOpen = 64;
  using Item = std::pair<InodeId, std::shared_ptr<UniqueFd>>;

  const LayerTree& tree_;
  std::shared_ptr<UniqueFd> root_;
  std::list<Item> recent_;  // last used first
  std::unordered_map<InodeId, std::list<Item>::iterator> open_;
};

}  // namespace cais

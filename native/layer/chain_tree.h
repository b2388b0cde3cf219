#pragma once

#include <sys/stat.h>

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "kernel/result.h"
#include "layer/layer_chain.h"
#include "layer/mend_budget.h"
#include "layer/mend_writer.h"

namespace cais {

// A chain of layers seen as one tree, in memory: each node says which layer's object is seen there.
class ChainTree {
 public:
  enum class View {
    // As overlayfs shows the layers.
    kOverlay,
    // As unpacking the layers one after the other into one directory gives: directories that a
    // layer does not
    // list keep the attributes they had, and symbolic links in their place are followed.
    kUnpacked,
  };

  struct Node {
    mode_t mode = S_IFDIR;
    // Where it comes from; a directory that no layer lists comes from nowhere.
    bool is_made_up = true;
    size_t layer = 0;
    std::string source;
    std::string link_target;
    std::weak_ptr<Node> parent;  // empty for the root
    std::map<std::string, std::shared_ptr<Node>, std::less<>> children;
    size_t path_bytes = 0;

    bool is_directory() const { return S_ISDIR(mode); }
    bool SameObject(const Node& other) const {
      return is_made_up == other.is_made_up &&
             (is_made_up || (layer == other.layer && source == other.source));
    }
  };

  // Both are borrowed, `budget` only during the call.
  static Result<ChainTree> Read(const LayerChain& chain, View view, MendBudget& budget);

  const Node& root() const { return *root_; }

 private:
  ChainTree(const LayerChain& chain, View view, MendBudget& budget)
      : chain_(&chain), view_(view), budget_(&budget), root_(std::make_shared<Node>()) {}

  Status ApplyLayer(size_t layer);
  Status ApplyDirectory(size_t layer, int fd, const std::string& source,
                        std::shared_ptr<Node> target);
  Status ApplyChild(size_t layer, int directory_fd, const std::string& source,
                    const std::string& name, const std::shared_ptr<Node>& target);
  std::shared_ptr<Node> EnterImplied(const std::shared_ptr<Node>& target, const std::string& name);
  // The directory that a symbolic link leads to, made if missing; null when it leads to no
  // directory.
  std::shared_ptr<Node> Follow(const std::shared_ptr<Node>& from, const std::string& link_target);
  std::shared_ptr<Node> MakeChild(const std::shared_ptr<Node>& parent, const std::string& name);

  const LayerChain* chain_;
  View view_;
  MendBudget* budget_;
  uint64_t names_followed_ = 0;  // not yet taken from the budget
  std::shared_ptr<Node> root_;
};

// What has to lie on top of the overlay of a chain so that it shows the unpacked view.
MendEntries CompareViews(const ChainTree& overlay, const ChainTree& unpacked);

}  // namespace cais

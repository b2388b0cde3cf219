#include "layer/chain_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "layer/entry_rules.h"

namespace cais {
namespace {

using Node = ChainTree::Node;

constexpr int kMaxLinksFollowed = 40;
// An entry of the tree is kept in memory, which a step of a look-up is not.
constexpr uint64_t kStepsOfEntry = 10;

std::string Join(const std::string& directory, std::string_view name) {
  return directory.empty() ? std::string(name) : directory + '/' + std::string(name);
}

// Sorted: where entries of one layer get in each other's way through a link below, their order
// counts, and both forms of a layer must come to the same end.
Result<std::vector<std::string>> ListNames(int directory_fd) {
  const int fd = ::openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Errno("openat");
  DIR* const stream = ::fdopendir(fd);
  if (stream == nullptr) {
    const Failure failure = Errno("fdopendir");
    (void)::close(fd);
    return failure;
  }
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(stream)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
    errno = 0;
  }
  const int error = errno;
  (void)::closedir(stream);
  if (error != 0) return Failure{error, "readdir", {}, {}};
  std::sort(names.begin(), names.end());
  return names;
}

// Adds `node` and everything in it.
void AddWhole(const std::string& path, const Node& node, MendEntries& entries) {
  entries[path] =
      node.is_made_up ? MendEntry{} : MendEntry{MendEntry::Kind::kCopy, node.layer, node.source};
  for (const auto& [name, child] : node.children) AddWhole(Join(path, name), *child, entries);
}

// True when something was added at or below `path`.
bool Compare(const std::string& path, const Node* overlay, const Node* unpacked,
             MendEntries& entries) {
  if (unpacked == nullptr) {
    entries[path] = {MendEntry::Kind::kWhiteout, 0, {}};
    return true;
  }
  if (overlay == nullptr || !unpacked->is_directory() || !overlay->is_directory()) {
    const bool is_same = overlay != nullptr && overlay->SameObject(*unpacked);
    if (!is_same) AddWhole(path, *unpacked, entries);
    return !is_same;
  }
  bool differs = !overlay->SameObject(*unpacked);
  for (const auto& [name, child] : unpacked->children) {
    const auto other = overlay->children.find(name);
    const Node* const below = other == overlay->children.end() ? nullptr : other->second.get();
    differs = Compare(Join(path, name), below, child.get(), entries) || differs;
  }
  for (const auto& [name, child] : overlay->children) {
    if (unpacked->children.contains(name)) continue;
    differs = Compare(Join(path, name), child.get(), nullptr, entries) || differs;
  }
  // A directory above a change is shown by the mending layer too, so it must say how that looks.
  if (differs) {
    entries[path] = unpacked->is_made_up
                        ? MendEntry{}
                        : MendEntry{MendEntry::Kind::kCopy, unpacked->layer, unpacked->source};
  }
  return differs;
}

}  // namespace

Result<ChainTree> ChainTree::Read(const LayerChain& chain, View view, MendBudget& budget) {
  ChainTree tree(chain, view, budget);
  for (size_t layer = 0; layer < chain.size(); ++layer) {
    const Status applied = tree.ApplyLayer(layer);
    if (!applied.ok()) return applied.failure();
  }
  return tree;
}

Status ChainTree::ApplyLayer(size_t layer) {
  const ChainLayer& source = (*chain_)[layer];
  const bool is_listed = !source.implied.contains("");
  Result<bool> opaque = IsOpaque(source.fd);
  if (!opaque.ok()) return opaque.failure();
  if (opaque.value()) root_->children.clear();
  if (is_listed) {
    root_->is_made_up = false;
    root_->layer = layer;
    root_->source.clear();
  } else if (view_ == View::kOverlay) {
    root_->is_made_up = true;
  }
  return ApplyDirectory(layer, source.fd, {}, root_);
}

Status ChainTree::ApplyDirectory(size_t layer, int fd, const std::string& source,
                                 std::shared_ptr<Node> target) {
  Result<std::vector<std::string>> names = ListNames(fd);
  if (!names.ok()) return names.failure();
  for (const std::string& name : names.value()) {
    const Status applied = ApplyChild(layer, fd, source, name, target);
    if (!applied.ok()) return applied;
  }
  return Done{};
}

Status ChainTree::ApplyChild(size_t layer, int directory_fd, const std::string& source,
                             const std::string& name, const std::shared_ptr<Node>& target) {
  const std::string path = Join(source, name);
  const Status taken = budget_->Take(kStepsOfEntry + std::exchange(names_followed_, 0));
  if (!taken.ok()) return taken;
  const UniqueFd fd(::openat(directory_fd, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return Errno("openat", path);
  struct stat status;
  if (::fstat(fd.get(), &status) != 0) return Errno("fstat", path);
  if (S_ISCHR(status.st_mode) && status.st_rdev == 0) {
    target->children.erase(name);
    return Done{};
  }
  if (!S_ISDIR(status.st_mode)) {
    target->children.erase(name);
    const std::shared_ptr<Node> node = MakeChild(target, name);
    node->mode = status.st_mode;
    node->is_made_up = false;
    node->layer = layer;
    node->source = path;
    if (S_ISLNK(status.st_mode)) {
      Result<TarEntry> described = DescribeObject(fd.get(), status);
      if (!described.ok()) return described.failure();
      node->link_target = std::move(described.value().link);
    }
    return Done{};
  }

  Result<bool> opaque = IsOpaque(fd.get());
  if (!opaque.ok()) return opaque.failure();
  if (opaque.value()) {
    // Only what lies in it goes: where a link leads, nothing does.
    const auto found = target->children.find(name);
    if (found != target->children.end()) found->second->children.clear();
  }
  std::shared_ptr<Node> directory;
  if ((*chain_)[layer].implied.contains(path)) {
    directory = EnterImplied(target, name);
  } else {
    const auto found = target->children.find(name);
    if (found != target->children.end() && found->second->is_directory()) {
      directory = found->second;
    } else {
      target->children.erase(name);
      directory = MakeChild(target, name);
    }
    directory->is_made_up = false;
    directory->layer = layer;
    directory->source = path;
  }
  if (directory->path_bytes > kMaxPathBytes) {
    return Refuse("LIMIT_EXCEEDED",
                  "The layers make a path of more than 4096 bytes below " + QuoteName(path));
  }
  return ApplyDirectory(layer, fd.get(), path, directory);
}

// Where the entries of a directory belong that the layer does not list.
std::shared_ptr<Node> ChainTree::EnterImplied(const std::shared_ptr<Node>& target,
                                              const std::string& name) {
  const auto found = target->children.find(name);
  if (found != target->children.end()) {
    const std::shared_ptr<Node> node = found->second;
    if (node->is_directory()) {
      if (view_ == View::kOverlay) node->is_made_up = true;
      return node;
    }
    if (view_ == View::kUnpacked && S_ISLNK(node->mode)) {
      std::shared_ptr<Node> followed = Follow(target, node->link_target);
      if (followed != nullptr) return followed;
    }
    target->children.erase(name);
  }
  return MakeChild(target, name);
}

std::shared_ptr<Node> ChainTree::MakeChild(const std::shared_ptr<Node>& parent,
                                           const std::string& name) {
  auto node = std::make_shared<Node>();
  node->parent = parent;
  node->path_bytes = parent->path_bytes + 1 + name.size();
  parent->children[name] = node;
  return node;
}

std::shared_ptr<Node> ChainTree::Follow(const std::shared_ptr<Node>& from,
                                        const std::string& link_target) {
  std::shared_ptr<Node> at = from;
  int links_followed = 0;
  // Names still to go, last first.
  std::vector<std::string> ahead;
  const auto push = [&](const std::string& target) {
    if (target.starts_with('/')) at = root_;
    for (size_t end = target.size();;) {
      const size_t slash = end == 0 ? std::string::npos : target.rfind('/', end - 1);
      const size_t start = slash == std::string::npos ? 0 : slash + 1;
      ahead.push_back(target.substr(start, end - start));
      if (slash == std::string::npos) break;
      end = slash;
    }
  };
  push(link_target);
  while (!ahead.empty()) {
    const std::string name = std::move(ahead.back());
    ahead.pop_back();
    ++names_followed_;
    if (name.empty() || name == ".") continue;
    if (name == "..") {
      const std::shared_ptr<Node> parent = at->parent.lock();
      if (parent != nullptr) at = parent;
      continue;
    }
    const auto found = at->children.find(name);
    if (found == at->children.end()) {
      // No layer can have a name of a whiteout, the mending one neither.
      if (name.starts_with(kWhiteoutPrefix)) return nullptr;
      if (name.size() > kMaxNameBytes) return nullptr;
      if (at->path_bytes + 1 + name.size() > kMaxPathBytes) return nullptr;
      at = MakeChild(at, name);
    } else if (found->second->is_directory()) {
      at = found->second;
    } else if (S_ISLNK(found->second->mode) && ++links_followed <= kMaxLinksFollowed) {
      push(std::string(found->second->link_target));
    } else {
      return nullptr;
    }
  }
  return at;
}

MendEntries CompareViews(const ChainTree& overlay, const ChainTree& unpacked) {
  MendEntries entries;
  (void)Compare({}, &overlay.root(), &unpacked.root(), entries);
  return entries;
}

}  // namespace cais

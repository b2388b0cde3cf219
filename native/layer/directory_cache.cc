#include "layer/directory_cache.h"

#include <fcntl.h>

#include <string>
#include <vector>

namespace cais {

Result<std::shared_ptr<UniqueFd>> DirectoryCache::Open(InodeId directory) {
  if (!recent_.empty() && recent_.front().first == directory) return recent_.front().second;
  // Up to the nearest one that is open, then down again.
  std::vector<InodeId> closed;
  std::shared_ptr<UniqueFd> fd = root_;
  for (InodeId at = directory; at != LayerTree::kRoot; at = tree_.ParentOf(at)) {
    const auto found = open_.find(at);
    if (found != open_.end()) {
      recent_.splice(recent_.begin(), recent_, found->second);
      fd = found->second->second;
      break;
    }
    closed.push_back(at);
  }
  for (auto id = closed.rbegin(); id != closed.rend(); ++id) {
    const PlaceId place = tree_.inode(*id).place;
    const std::string name(tree_.place(place).Name());
    auto opened = std::make_shared<UniqueFd>(
        ::openat(fd->get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!*opened) return Errno("openat", tree_.PathOf(place));
    fd = std::move(opened);
    recent_.emplace_front(*id, fd);
    open_[*id] = recent_.begin();
    if (recent_.size() > kMaxOpen) {
      open_.erase(recent_.back().first);
      recent_.pop_back();
    }
  }
  return fd;
}

}  // namespace cais

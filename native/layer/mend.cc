#include "layer/mend.h"

#include <memory>
#include <optional>
#include <set>

#include "layer/chain_tree.h"
#include "layer/mend_budget.h"
#include "layer/mend_writer.h"

namespace cais {
namespace {

// What the directory at a path of a chain should look like.
struct Appearance {
  // The layer whose listed directory gives the attributes; none: a directory that no layer lists.
  std::optional<size_t> layer;
  // The top-most directory is one that its layer does not list.
  bool is_implied = false;
  bool is_link_below = false;
};

Result<Appearance> FindAppearance(const LayerChain& chain, const std::string& path,
                                  MendBudget& budget) {
  Appearance result;
  for (size_t i = chain.size(); i-- > 0;) {
    Result<LayerLookup> found = LookUp(chain[i], path);
    if (!found.ok()) return found.failure();
    const LayerLookup& here = found.value();
    const Status taken = budget.Take(here.steps);
    if (!taken.ok()) return taken.failure();
    if (here.is_directory() && !chain[i].implied.contains(path)) {
      result.layer = i;
      return result;
    }
    if (here.is_directory()) {
      result.is_implied = true;
    } else if (here.found()) {
      result.is_link_below = result.is_implied && S_ISLNK(here.status.st_mode);
      return result;
    }
    if (here.hides_below) return result;
  }
  return result;
}

MendEntry EntryOf(const Appearance& appearance, const std::string& path) {
  if (!appearance.layer) return MendEntry{};
  return MendEntry{MendEntry::Kind::kCopy, *appearance.layer, path};
}

// Attributes of implied directories that a lower layer lists, with the directories above them.
// None: a link lies below an implied directory, which attributes alone cannot mend.
Result<std::optional<MendEntries>> MendAttributes(const LayerChain& chain, MendBudget& budget) {
  std::set<std::string> paths;
  for (const ChainLayer& layer : chain) paths.insert(layer.implied.begin(), layer.implied.end());
  MendEntries entries;
  for (const std::string& path : paths) {
    Result<Appearance> found = FindAppearance(chain, path, budget);
    if (!found.ok()) return found.failure();
    if (found.value().is_link_below) return std::optional<MendEntries>();
    if (found.value().is_implied && found.value().layer) {
      entries[path] = EntryOf(found.value(), path);
    }
  }
  // The mending layer lies on top, so the directories above must look right in it too.
  std::set<std::string> above;
  for (const auto& [path, entry] : entries) {
    if (path.empty()) continue;
    above.insert("");
    for (size_t slash = path.find('/'); slash != std::string::npos;
         slash = path.find('/', slash + 1)) {
      above.insert(path.substr(0, slash));
    }
  }
  for (const std::string& path : above) {
    if (entries.contains(path)) continue;
    Result<Appearance> found = FindAppearance(chain, path, budget);
    if (!found.ok()) return found.failure();
    entries[path] = EntryOf(found.value(), path);
  }
  return std::optional<MendEntries>(std::move(entries));
}

Result<MendEntries> FindEntries(const LayerChain& chain, MendBudget& budget) {
  Result<std::optional<MendEntries>> attributes = MendAttributes(chain, budget);
  if (!attributes.ok()) return attributes.failure();
  if (attributes.value()) return std::move(*attributes.value());
  Result<ChainTree> overlay = ChainTree::Read(chain, ChainTree::View::kOverlay, budget);
  if (!overlay.ok()) return overlay.failure();
  Result<ChainTree> unpacked = ChainTree::Read(chain, ChainTree::View::kUnpacked, budget);
  if (!unpacked.ok()) return unpacked.failure();
  return CompareViews(overlay.value(), unpacked.value());
}

Result<size_t> FindFirstVisible(const LayerChain& chain) {
  for (size_t i = chain.size(); i-- > 0;) {
    Result<bool> opaque = IsOpaque(chain[i].fd);
    if (!opaque.ok()) return opaque.failure();
    if (opaque.value()) return i;
  }
  return size_t{0};
}

}  // namespace

Result<MendOutcome> BuildMend(const LayerChain& chain, const MendTarget& target) {
  MendBudget budget(target.max_steps);
  MendOutcome outcome;
  Result<size_t> first_visible = FindFirstVisible(chain);
  if (!first_visible.ok()) return first_visible.failure();
  outcome.first_visible = first_visible.value();
  Result<MendEntries> entries = FindEntries(chain, budget);
  if (!entries.ok()) return entries.failure();
  if (entries.value().empty()) return outcome;

  // What the layers could hold, the mending layer can.
  const EndLimits limits{UINT32_MAX - 1, UINT64_MAX, 0};
  Result<std::unique_ptr<LayerEnd>> end = target.open_end(target.directory_fd, limits);
  if (!end.ok()) return end.failure();
  MendWriter writer(chain, *end.value());
  const Status written = writer.Write(entries.value());
  if (!written.ok()) return written.failure();
  Result<EndSummary> summary = end.value()->Finish();
  if (!summary.ok()) return summary.failure();
  outcome.written = true;
  outcome.layer_bytes = summary.value().layer_bytes;
  return outcome;
}

}  // namespace cais

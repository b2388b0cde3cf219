#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/netlink.h"
#include "kernel/result.h"

namespace cais {

// The expressions of one rule, in order; what they are called is what `nft --debug=netlink` shows.
// Registers have 16 bytes (NFT_REG_1 …) or 4 (NFT_REG32_00 …, on the same memory).
class NftRule {
 public:
  explicit NftRule(NetlinkMessage& list) : list_(list) {}

  NftRule& Meta(uint32_t key, uint32_t to);
  // Loads bytes of the packet; `base` is NFT_PAYLOAD_NETWORK_HEADER or another of these.
  struct Field {
    uint32_t base = 0;
    uint32_t offset = 0;
    uint32_t length = 0;
  };
  NftRule& Payload(const Field& field, uint32_t to);
  // Keeps the bits of `mask` in register 1.
  NftRule& Mask(std::string_view mask);
  // Register 1 against a value; the rule ends here when it does not hold.
  NftRule& Equal(std::string_view value);
  NftRule& NotEqual(std::string_view value);
  // The flags of the packet's connection (IPS_…), into register 1.
  NftRule& ConnectionStatus();
  // What the destination address is to this machine (RTN_…), into register 1.
  NftRule& DestinationType();
  // Looks what begins in register 1 up in a map and puts the value there; ends the rule when it has
  // no such key.
  NftRule& Lookup(const std::string& map);
  // Address from register 1, port from `port_from`.
  NftRule& DestinationNat(uint32_t family, uint32_t port_from);
  NftRule& Masquerade(uint32_t flags);
  NftRule& Drop();
  NftRule& Return();
  NftRule& Jump(const std::string& chain);

 private:
  NftRule& Add(const std::string& name, const std::function<void(NetlinkMessage&)>& fill);
  NftRule& Compare(uint32_t operation, std::string_view value);
  NftRule& Verdict(uint32_t code, const std::string& chain);
  NetlinkMessage& list_;
};

struct NftHook {
  const char* type;  // "filter" or "nat"
  uint32_t number;   // NF_INET_…
  int32_t priority;
};

struct NftMap {
  const char* name;
  uint32_t key_type;  // nft's own number, so that it can show the elements
  uint32_t key_bytes;
  uint32_t data_type;
  uint32_t data_bytes;
};

// Changes of one table of family inet that happen together, or not at all.
class NftTransaction {
 public:
  explicit NftTransaction(std::string table) : table_(std::move(table)) {}

  // Each of these is content with an equal one that is there.
  NftTransaction& Table();
  NftTransaction& Map(const NftMap& map);
  NftTransaction& Chain(const std::string& name);
  NftTransaction& Chain(const std::string& name, const NftHook& hook);
  // Fails with EEXIST (or EBUSY) when the map has the key with another value.
  NftTransaction& Element(const std::string& map, std::string_view key, std::string_view data);

  NftTransaction& RemoveTable();
  NftTransaction& RemoveRules(const std::string& chain);
  // Fails with ENOENT when there is none.
  NftTransaction& RemoveElement(const std::string& map, std::string_view key,
                                std::string_view data);
  NftTransaction& Rule(const std::string& chain, const std::function<void(NftRule&)>& fill);

  // In the network namespace of the calling thread. `what` names the operation.
  Status Commit(const char* what);

 private:
  NetlinkMessage Message(uint16_t operation, uint16_t flags) const;
  NftTransaction& ElementMessage(uint16_t operation, const std::string& map, std::string_view key,
                                 std::string_view data);

  std::string table_;
  std::vector<NetlinkMessage> messages_;
  uint32_t maps_ = 0;
};

Result<bool> NftTableExists(const std::string& table);

// 1 to 255 bytes. `INVALID_ARGUMENT`
Status CheckNftTableName(const std::string& table);

}  // namespace cais

#include "kernel/nftables.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <cerrno>

namespace cais {

namespace {

constexpr uint16_t kRequest = NLM_F_ACK;

nfgenmsg Family(uint8_t family, uint16_t resource = 0) {
  nfgenmsg body = {};
  body.nfgen_family = family;
  body.version = NFNETLINK_V0;
  body.res_id = htons(resource);
  return body;
}

NetlinkMessage NftMessage(uint16_t operation, uint16_t flags) {
  NetlinkMessage message(static_cast<uint16_t>((NFNL_SUBSYS_NFTABLES << 8) | operation), flags);
  message.Body(Family(NFPROTO_INET));
  return message;
}

}  // namespace

NftRule& NftRule::Add(const std::string& name, const std::function<void(NetlinkMessage&)>& fill) {
  list_.Nested(NFTA_LIST_ELEM, [&](NetlinkMessage& element) {
    element.Text(NFTA_EXPR_NAME, name).Nested(NFTA_EXPR_DATA, fill);
  });
  return *this;
}

NftRule& NftRule::Meta(uint32_t key, uint32_t to) {
  return Add("meta", [&](NetlinkMessage& data) {
    data.BigEndian(NFTA_META_KEY, key).BigEndian(NFTA_META_DREG, to);
  });
}

NftRule& NftRule::Payload(const Field& field, uint32_t to) {
  return Add("payload", [&](NetlinkMessage& data) {
    data.BigEndian(NFTA_PAYLOAD_DREG, to)
        .BigEndian(NFTA_PAYLOAD_BASE, field.base)
        .BigEndian(NFTA_PAYLOAD_OFFSET, field.offset)
        .BigEndian(NFTA_PAYLOAD_LEN, field.length);
  });
}

NftRule& NftRule::Mask(std::string_view mask) {
  const std::string zero(mask.size(), '\0');
  return Add("bitwise", [&](NetlinkMessage& data) {
    data.BigEndian(NFTA_BITWISE_SREG, NFT_REG_1)
        .BigEndian(NFTA_BITWISE_DREG, NFT_REG_1)
        .BigEndian(NFTA_BITWISE_LEN, static_cast<uint32_t>(mask.size()))
        .Nested(NFTA_BITWISE_MASK, [&](NetlinkMessage& cell) { cell.Bytes(NFTA_DATA_VALUE, mask); })
        .Nested(NFTA_BITWISE_XOR, [&](NetlinkMessage& cell) { cell.Bytes(NFTA_DATA_VALUE, zero); });
  });
}

NftRule& NftRule::Compare(uint32_t operation, std::string_view value) {
  return Add("cmp", [&](NetlinkMessage& data) {
    data.BigEndian(NFTA_CMP_SREG, NFT_REG_1)
        .BigEndian(NFTA_CMP_OP, operation)
        .Nested(NFTA_CMP_DATA, [&](NetlinkMessage& cell) { cell.Bytes(NFTA_DATA_VALUE, value); });
  });
}

NftRule& NftRule::Equal(std::string_view value) { return Compare(NFT_CMP_EQ, value); }

NftRule& NftRule::NotEqual(std::string_view value) { return Compare(NFT_CMP_NEQ, value); }

NftRule& NftRule::ConnectionStatus() {
  return Add("ct", [](NetlinkMessage& data) {
    data.BigEndian(NFTA_CT_DREG, NFT_REG_1).BigEndian(NFTA_CT_KEY, NFT_CT_STATUS);
  });
}

NftRule& NftRule::DestinationType() {
  return Add("fib", [](NetlinkMessage& data) {
    data.BigEndian(NFTA_FIB_DREG, NFT_REG_1)
        .BigEndian(NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE)
        .BigEndian(NFTA_FIB_FLAGS, NFTA_FIB_F_DADDR);
  });
}

NftRule& NftRule::Lookup(const std::string& map) {
  return Add("lookup", [&](NetlinkMessage& data) {
    data.Text(NFTA_LOOKUP_SET, map)
        .BigEndian(NFTA_LOOKUP_SREG, NFT_REG_1)
        .BigEndian(NFTA_LOOKUP_DREG, NFT_REG_1);
  });
}

NftRule& NftRule::DestinationNat(uint32_t family, uint32_t port_from) {
  return Add("nat", [&](NetlinkMessage& data) {
    data.BigEndian(NFTA_NAT_TYPE, NFT_NAT_DNAT)
        .BigEndian(NFTA_NAT_FAMILY, family)
        .BigEndian(NFTA_NAT_REG_ADDR_MIN, NFT_REG_1)
        .BigEndian(NFTA_NAT_REG_PROTO_MIN, port_from);
  });
}

NftRule& NftRule::Masquerade(uint32_t flags) {
  return Add("masq", [&](NetlinkMessage& data) { data.BigEndian(NFTA_MASQ_FLAGS, flags); });
}

NftRule& NftRule::Verdict(uint32_t code, const std::string& chain) {
  return Add("immediate", [&](NetlinkMessage& data) {
    data.BigEndian(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT)
        .Nested(NFTA_IMMEDIATE_DATA, [&](NetlinkMessage& cell) {
          cell.Nested(NFTA_DATA_VERDICT, [&](NetlinkMessage& verdict) {
            verdict.BigEndian(NFTA_VERDICT_CODE, code);
            if (!chain.empty()) verdict.Text(NFTA_VERDICT_CHAIN, chain);
          });
        });
  });
}

NftRule& NftRule::Drop() { return Verdict(NF_DROP, {}); }

NftRule& NftRule::Return() { return Verdict(static_cast<uint32_t>(NFT_RETURN), {}); }

NftRule& NftRule::Jump(const std::string& chain) {
  return Verdict(static_cast<uint32_t>(NFT_JUMP), chain);
}

NetlinkMessage NftTransaction::Message(uint16_t operation, uint16_t flags) const {
  return NftMessage(operation, static_cast<uint16_t>(flags | kRequest));
}

NftTransaction& NftTransaction::Table() {
  messages_.push_back(Message(NFT_MSG_NEWTABLE, NLM_F_CREATE).Text(NFTA_TABLE_NAME, table_));
  return *this;
}

NftTransaction& NftTransaction::RemoveTable() {
  messages_.push_back(Message(NFT_MSG_DELTABLE, 0).Text(NFTA_TABLE_NAME, table_));
  return *this;
}

NftTransaction& NftTransaction::Map(const NftMap& map) {
  messages_.push_back(Message(NFT_MSG_NEWSET, NLM_F_CREATE)
                          .Text(NFTA_SET_TABLE, table_)
                          .Text(NFTA_SET_NAME, map.name)
                          .BigEndian(NFTA_SET_ID, ++maps_)
                          .BigEndian(NFTA_SET_FLAGS, NFT_SET_MAP)
                          .BigEndian(NFTA_SET_KEY_TYPE, map.key_type)
                          .BigEndian(NFTA_SET_KEY_LEN, map.key_bytes)
                          .BigEndian(NFTA_SET_DATA_TYPE, map.data_type)
                          .BigEndian(NFTA_SET_DATA_LEN, map.data_bytes));
  return *this;
}

NftTransaction& NftTransaction::Chain(const std::string& name) {
  messages_.push_back(Message(NFT_MSG_NEWCHAIN, NLM_F_CREATE)
                          .Text(NFTA_CHAIN_TABLE, table_)
                          .Text(NFTA_CHAIN_NAME, name));
  return *this;
}

NftTransaction& NftTransaction::Chain(const std::string& name, const NftHook& hook) {
  Chain(name);
  messages_.back()
      .Text(NFTA_CHAIN_TYPE, hook.type)
      .BigEndian(NFTA_CHAIN_POLICY, NF_ACCEPT)
      .Nested(NFTA_CHAIN_HOOK, [&](NetlinkMessage& nested) {
        nested.BigEndian(NFTA_HOOK_HOOKNUM, hook.number)
            .BigEndian(NFTA_HOOK_PRIORITY, static_cast<uint32_t>(hook.priority));
      });
  return *this;
}

NftTransaction& NftTransaction::RemoveRules(const std::string& chain) {
  messages_.push_back(
      Message(NFT_MSG_DELRULE, 0).Text(NFTA_RULE_TABLE, table_).Text(NFTA_RULE_CHAIN, chain));
  return *this;
}

NftTransaction& NftTransaction::Rule(const std::string& chain,
                                     const std::function<void(NftRule&)>& fill) {
  messages_.push_back(Message(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND)
                          .Text(NFTA_RULE_TABLE, table_)
                          .Text(NFTA_RULE_CHAIN, chain)
                          .Nested(NFTA_RULE_EXPRESSIONS, [&](NetlinkMessage& list) {
                            NftRule rule(list);
                            fill(rule);
                          }));
  return *this;
}

NftTransaction& NftTransaction::ElementMessage(uint16_t operation, const std::string& map,
                                               std::string_view key, std::string_view data) {
  const uint16_t flags = operation == NFT_MSG_NEWSETELEM ? NLM_F_CREATE : 0;
  messages_.push_back(
      Message(operation, flags)
          .Text(NFTA_SET_ELEM_LIST_TABLE, table_)
          .Text(NFTA_SET_ELEM_LIST_SET, map)
          .Nested(NFTA_SET_ELEM_LIST_ELEMENTS, [&](NetlinkMessage& list) {
            list.Nested(NFTA_LIST_ELEM, [&](NetlinkMessage& element) {
              element
                  .Nested(NFTA_SET_ELEM_KEY,
                          [&](NetlinkMessage& cell) { cell.Bytes(NFTA_DATA_VALUE, key); })
                  .Nested(NFTA_SET_ELEM_DATA,
                          [&](NetlinkMessage& cell) { cell.Bytes(NFTA_DATA_VALUE, data); });
            });
          }));
  return *this;
}

NftTransaction& NftTransaction::Element(const std::string& map, std::string_view key,
                                        std::string_view data) {
  return ElementMessage(NFT_MSG_NEWSETELEM, map, key, data);
}

NftTransaction& NftTransaction::RemoveElement(const std::string& map, std::string_view key,
                                              std::string_view data) {
  return ElementMessage(NFT_MSG_DELSETELEM, map, key, data);
}

Status NftTransaction::Commit(const char* what) {
  Result<NetlinkSocket> socket = NetlinkSocket::Open(NETLINK_NETFILTER);
  if (!socket.ok()) return socket.failure();
  std::vector<NetlinkMessage> batch;
  batch.emplace_back(NFNL_MSG_BATCH_BEGIN, 0).Body(Family(AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
  batch.insert(batch.end(), messages_.begin(), messages_.end());
  batch.emplace_back(NFNL_MSG_BATCH_END, 0).Body(Family(AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
  return socket.value().Batch(batch, what, table_);
}

Result<bool> NftTableExists(const std::string& table) {
  Result<NetlinkSocket> socket = NetlinkSocket::Open(NETLINK_NETFILTER);
  if (!socket.ok()) return socket.failure();
  const NetlinkMessage question =
      NftMessage(NFT_MSG_GETTABLE, NLM_F_ACK).Text(NFTA_TABLE_NAME, table);
  Status found = socket.value().Request(question, "look for nftables table", table);
  if (found.ok()) return true;
  if (found.failure().error == ENOENT) return false;
  return found.failure();
}

Status CheckNftTableName(const std::string& table) {
  if (!table.empty() && table.size() < NFT_TABLE_MAXNAMELEN) return Done{};
  return Refuse("INVALID_ARGUMENT", "\"" + table + "\" is not a name for an nftables table");
}

}  // namespace cais

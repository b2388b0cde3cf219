#include "kernel/nftables.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <net/if.h>

#include <cerrno>
#include <functional>
#include <vector>

#include "kernel/netlink.h"

namespace cais {

namespace {

constexpr const char* kChain = "postrouting";
constexpr uint32_t kSourceNatPriority = 100;   // NF_IP_PRI_NAT_SRC
constexpr uint32_t kSourceAddressOffset = 12;  // in the IPv4 header
constexpr uint32_t kAddressBytes = 4;

nfgenmsg Family(uint8_t family, uint16_t resource = 0) {
  nfgenmsg body = {};
  body.nfgen_family = family;
  body.version = NFNETLINK_V0;
  body.res_id = htons(resource);
  return body;
}

NetlinkMessage TableMessage(uint16_t operation, uint16_t flags) {
  NetlinkMessage message(static_cast<uint16_t>((NFNL_SUBSYS_NFTABLES << 8) | operation),
                         static_cast<uint16_t>(flags | NLM_F_ACK));
  message.Body(Family(NFPROTO_INET));
  return message;
}

// A transaction: all of `messages` or none.
Status Commit(const std::vector<NetlinkMessage>& messages, const char* what,
              const std::string& table) {
  Result<NetlinkSocket> socket = NetlinkSocket::Open(NETLINK_NETFILTER);
  if (!socket.ok()) return socket.failure();
  std::vector<NetlinkMessage> batch;
  batch.emplace_back(NFNL_MSG_BATCH_BEGIN, 0).Body(Family(AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
  batch.insert(batch.end(), messages.begin(), messages.end());
  batch.emplace_back(NFNL_MSG_BATCH_END, 0).Body(Family(AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
  return socket.value().Batch(batch, what, table);
}

using Fill = std::function<void(NetlinkMessage&)>;

// One expression of a rule.
void Expression(NetlinkMessage& list, const std::string& name, const Fill& fill) {
  list.Nested(NFTA_LIST_ELEM, [&](NetlinkMessage& element) {
    element.Text(NFTA_EXPR_NAME, name).Nested(NFTA_EXPR_DATA, fill);
  });
}

void LoadMeta(NetlinkMessage& list, uint32_t key) {
  Expression(list, "meta", [&](NetlinkMessage& data) {
    data.BigEndian(NFTA_META_KEY, key).BigEndian(NFTA_META_DREG, NFT_REG_1);
  });
}

void Compare(NetlinkMessage& list, uint32_t operation, std::string_view value) {
  Expression(list, "cmp", [&](NetlinkMessage& data) {
    data.BigEndian(NFTA_CMP_SREG, NFT_REG_1)
        .BigEndian(NFTA_CMP_OP, operation)
        .Nested(NFTA_CMP_DATA, [&](NetlinkMessage& cell) { cell.Bytes(NFTA_DATA_VALUE, value); });
  });
}

void LoadMaskedSource(NetlinkMessage& list, uint32_t mask) {
  Expression(list, "payload", [](NetlinkMessage& data) {
    data.BigEndian(NFTA_PAYLOAD_DREG, NFT_REG_1)
        .BigEndian(NFTA_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER)
        .BigEndian(NFTA_PAYLOAD_OFFSET, kSourceAddressOffset)
        .BigEndian(NFTA_PAYLOAD_LEN, kAddressBytes);
  });
  const uint32_t zero = 0;
  Expression(list, "bitwise", [&](NetlinkMessage& data) {
    data.BigEndian(NFTA_BITWISE_SREG, NFT_REG_1)
        .BigEndian(NFTA_BITWISE_DREG, NFT_REG_1)
        .BigEndian(NFTA_BITWISE_LEN, kAddressBytes)
        .Nested(NFTA_BITWISE_MASK,
                [&](NetlinkMessage& cell) { cell.Bytes(NFTA_DATA_VALUE, Ipv4Bytes(mask)); })
        .Nested(NFTA_BITWISE_XOR,
                [&](NetlinkMessage& cell) { cell.Bytes(NFTA_DATA_VALUE, Ipv4Bytes(zero)); });
  });
}

void MasqueradeRule(NetlinkMessage& list, const std::string& bridge, const Ipv4Network& subnet) {
  // Families come together in an inet table, so the first check says which header follows.
  LoadMeta(list, NFT_META_NFPROTO);
  const char ipv4 = NFPROTO_IPV4;
  Compare(list, NFT_CMP_EQ, std::string_view(&ipv4, 1));
  LoadMaskedSource(list, subnet.Mask());
  const uint32_t network = subnet.Network();
  Compare(list, NFT_CMP_EQ, Ipv4Bytes(network));
  LoadMeta(list, NFT_META_OIFNAME);
  std::string name = bridge;
  name.resize(IFNAMSIZ, '\0');
  Compare(list, NFT_CMP_NEQ, name);
  Expression(list, "masq", [](NetlinkMessage& data) {
    // Ports at random: two connections that pick one at the same moment would else lose a packet.
    data.BigEndian(NFTA_MASQ_FLAGS, NF_NAT_RANGE_PROTO_RANDOM_FULLY);
  });
}

Status CheckTableName(const std::string& table) {
  if (!table.empty() && table.size() < NFT_TABLE_MAXNAMELEN) return Done{};
  return Refuse("INVALID_ARGUMENT", "\"" + table + "\" is not a name for an nftables table");
}

}  // namespace

Status EnsureMasquerade(const std::string& table, const std::string& bridge,
                        const std::string& subnet_cidr) {
  Status checked = CheckTableName(table);
  if (!checked.ok()) return checked;
  if (bridge.empty() || bridge.size() >= IFNAMSIZ) {
    return Refuse("INVALID_ARGUMENT", "\"" + bridge + "\" is not a name for a network link");
  }
  Result<Ipv4Network> subnet = ParseIpv4Network(subnet_cidr);
  if (!subnet.ok()) return subnet.failure();
  // Deleting what may not be there would fail, so it is made first.
  NetlinkMessage make = TableMessage(NFT_MSG_NEWTABLE, NLM_F_CREATE);
  make.Text(NFTA_TABLE_NAME, table);
  NetlinkMessage remove = TableMessage(NFT_MSG_DELTABLE, 0);
  remove.Text(NFTA_TABLE_NAME, table);
  NetlinkMessage chain = TableMessage(NFT_MSG_NEWCHAIN, NLM_F_CREATE);
  chain.Text(NFTA_CHAIN_TABLE, table)
      .Text(NFTA_CHAIN_NAME, kChain)
      .Text(NFTA_CHAIN_TYPE, "nat")
      .BigEndian(NFTA_CHAIN_POLICY, NF_ACCEPT)
      .Nested(NFTA_CHAIN_HOOK, [](NetlinkMessage& hook) {
        hook.BigEndian(NFTA_HOOK_HOOKNUM, NF_INET_POST_ROUTING)
            .BigEndian(NFTA_HOOK_PRIORITY, kSourceNatPriority);
      });
  NetlinkMessage rule = TableMessage(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
  rule.Text(NFTA_RULE_TABLE, table)
      .Text(NFTA_RULE_CHAIN, kChain)
      .Nested(NFTA_RULE_EXPRESSIONS,
              [&](NetlinkMessage& list) { MasqueradeRule(list, bridge, subnet.value()); });
  return Commit({make, remove, make, chain, rule}, "create nftables table", table);
}

Status RemoveMasquerade(const std::string& table) {
  Status checked = CheckTableName(table);
  if (!checked.ok()) return checked;
  NetlinkMessage remove = TableMessage(NFT_MSG_DELTABLE, 0);
  remove.Text(NFTA_TABLE_NAME, table);
  Status removed = Commit({remove}, "remove nftables table", table);
  if (!removed.ok() && removed.failure().error == ENOENT) return Done{};
  return removed;
}

}  // namespace cais

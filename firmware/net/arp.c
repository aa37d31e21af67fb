#include <string.h>

#include "net_state.h"

#define ARP_SIZE 28u
#define OPERATION_REQUEST 1u
#define OPERATION_REPLY 2u

/* Hardware type Ethernet, protocol type IPv4, their address sizes. */
static const uint8_t prefix[6] = {0, 1, 8, 0, 6, 4};

static void send_arp(vp_net *net, uint16_t operation, const uint8_t mac[6],
                     const uint8_t address[4])
{
    static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    uint8_t frame[VP_NET_MIN_FRAME] = {0};
    uint8_t *arp = frame + ETHERNET_HEADER;
    memcpy(frame, mac != NULL ? mac : broadcast, 6);
    memcpy(frame + 6, net->config.mac, 6);
    vp_net_put16(frame + 12, TYPE_ARP);
    memcpy(arp, prefix, sizeof(prefix));
    vp_net_put16(arp + 6, operation);
    memcpy(arp + 8, net->config.mac, 6);
    memcpy(arp + 14, net->config.address, 4);
    if (mac != NULL) {
        memcpy(arp + 18, mac, 6);
    }
    memcpy(arp + 24, address, 4);
    vp_net_send_frame(net, frame, ETHERNET_HEADER + ARP_SIZE);
}

void vp_net_request_mac(vp_net *net, const uint8_t address[4])
{
    send_arp(net, OPERATION_REQUEST, NULL, address);
}

vp_net_neighbour *vp_net_find_neighbour(vp_net *net, const uint8_t address[4])
{
    static const uint8_t none[4];
    for (unsigned i = 0; i < VP_NET_ARP_ENTRIES; i++) {
        if (vp_net_equal(net->neighbours[i].address, address, 4) &&
            !vp_net_equal(address, none, 4)) {
            return &net->neighbours[i];
        }
    }
    return NULL;
}

/* Free slots hold heard_ms 0, so they are the oldest. */
static vp_net_neighbour *oldest(vp_net *net)
{
    vp_net_neighbour *found = &net->neighbours[0];
    for (unsigned i = 1; i < VP_NET_ARP_ENTRIES; i++) {
        if (net->neighbours[i].heard_ms < found->heard_ms) {
            found = &net->neighbours[i];
        }
    }
    return found;
}

int vp_net_receive_arp(vp_net *net, const uint8_t *packet, size_t size, uint64_t now_ms)
{
    static const uint8_t none[4];
    if (size < ARP_SIZE || !vp_net_equal(packet, prefix, sizeof(prefix))) {
        return VP_NET_MALFORMED;
    }
    const uint16_t operation = vp_net_get16(packet + 6);
    const uint8_t *mac = packet + 8;
    const uint8_t *address = packet + 14;
    const int for_me = vp_net_equal(packet + 24, net->config.address, 4);
    if ((mac[0] & 1u) != 0u || vp_net_equal(address, none, 4)) {
        return for_me ? VP_NET_MALFORMED : VP_NET_OK;
    }
    /* RFC 826: an address that is known is updated, a new one is learnt only by whom it concerns. */
    vp_net_neighbour *neighbour = vp_net_find_neighbour(net, address);
    if (neighbour == NULL && for_me) {
        neighbour = oldest(net);
        memcpy(neighbour->address, address, 4);
    }
    if (neighbour != NULL) {
        memcpy(neighbour->mac, mac, 6);
        neighbour->heard_ms = now_ms;
        vp_net_send_waiting(net);
    }
    if (for_me && operation == OPERATION_REQUEST) {
        send_arp(net, OPERATION_REPLY, mac, address);
    }
    return VP_NET_OK;
}

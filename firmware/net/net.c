#include <string.h>

#include "net_state.h"

#define TTL 64u

int vp_net_equal(const uint8_t *a, const uint8_t *b, size_t size)
{
    return memcmp(a, b, size) == 0;
}

static int group_ok(const vp_net_config *config)
{
    static const uint8_t none[4];
    return vp_net_equal(config->group, none, 4) ||
           ((config->group[0] & 0xf0u) == 0xe0u && config->group_port != 0u);
}

int vp_net_init(vp_net *net, const vp_net_config *config)
{
    static const uint8_t none[6];
    if (config->send == NULL || vp_net_equal(config->address, none, 4) ||
        vp_net_equal(config->mac, none, 6) || (config->mac[0] & 1u) != 0u || config->port == 0u ||
        !group_ok(config)) {
        return VP_NET_CONFIG;
    }
    memset(net, 0, sizeof(*net));
    net->config = *config;
    return VP_NET_OK;
}

/* Pads to the shortest frame that Ethernet carries; `frame` holds at least VP_NET_MIN_FRAME. */
void vp_net_send_frame(vp_net *net, uint8_t *frame, size_t size)
{
    if (size < VP_NET_MIN_FRAME) {
        memset(frame + size, 0, VP_NET_MIN_FRAME - size);
        size = VP_NET_MIN_FRAME;
    }
    net->config.send(net->config.context, frame, size);
}

/* Writes both headers in front of a payload that stands at frame + ETHERNET_HEADER + IPV4_HEADER. */
void vp_net_send_ipv4(vp_net *net, const uint8_t mac[6], const uint8_t to[4], uint8_t protocol,
                      uint8_t *frame, size_t payload_size)
{
    uint8_t *ip = frame + ETHERNET_HEADER;
    memcpy(frame, mac, 6);
    memcpy(frame + 6, net->config.mac, 6);
    vp_net_put16(frame + 12, TYPE_IPV4);
    memset(ip, 0, IPV4_HEADER);
    ip[0] = 0x45;
    vp_net_put16(ip + 2, (uint32_t)(IPV4_HEADER + payload_size));
    vp_net_put16(ip + 4, net->identification++);
    ip[8] = TTL;
    ip[9] = protocol;
    memcpy(ip + 12, net->config.address, 4);
    memcpy(ip + 16, to, 4);
    vp_net_put16(ip + 10, vp_net_fold(vp_net_sum(0, ip, IPV4_HEADER)));
    vp_net_send_frame(net, frame, ETHERNET_HEADER + IPV4_HEADER + payload_size);
}

static void send_udp(vp_net *net, const uint8_t mac[6], const uint8_t to[4], uint16_t port,
                     const uint8_t *data, size_t size)
{
    uint8_t frame[VP_NET_HEADERS + VP_NET_MAX_PAYLOAD];
    uint8_t *udp = frame + ETHERNET_HEADER + IPV4_HEADER;
    uint8_t addresses[8];
    const size_t udp_size = UDP_HEADER + size;
    vp_net_put16(udp, net->config.port);
    vp_net_put16(udp + 2, port);
    vp_net_put16(udp + 4, (uint32_t)udp_size);
    vp_net_put16(udp + 6, 0);
    memcpy(udp + UDP_HEADER, data, size);
    memcpy(addresses, net->config.address, 4);
    memcpy(addresses + 4, to, 4);
    const uint32_t sum = vp_net_pseudo_sum(addresses, PROTOCOL_UDP, udp_size);
    const uint16_t checksum = vp_net_fold(vp_net_sum(sum, udp, udp_size));
    /* RFC 768: 0 would mean that there is none. */
    vp_net_put16(udp + 6, checksum != 0u ? checksum : 0xffffu);
    vp_net_send_ipv4(net, mac, to, PROTOCOL_UDP, frame, udp_size);
}

static const uint8_t *next_hop(const vp_net *net, const uint8_t to[4])
{
    static const uint8_t none[4];
    const vp_net_config *config = &net->config;
    for (unsigned i = 0; i < 4u; i++) {
        if (((to[i] ^ config->address[i]) & config->netmask[i]) != 0u) {
            return vp_net_equal(config->router, none, 4) ? NULL : config->router;
        }
    }
    return to;
}

int vp_net_send(vp_net *net, const uint8_t to[4], uint16_t port, const uint8_t *data, size_t size,
                uint64_t now_ms)
{
    const uint8_t *hop = next_hop(net, to);
    if (size > VP_NET_MAX_PAYLOAD) {
        return VP_NET_SIZE;
    }
    if (hop == NULL) {
        return VP_NET_NO_ROUTE;
    }
    vp_net_neighbour *neighbour = vp_net_find_neighbour(net, hop);
    if (neighbour != NULL) {
        if (now_ms - neighbour->heard_ms >= VP_NET_ARP_AGE_MS) {
            neighbour->heard_ms += VP_NET_ARP_RETRY_MS;
            vp_net_request_mac(net, hop);
        }
        send_udp(net, neighbour->mac, to, port, data, size);
        return VP_NET_OK;
    }
    vp_net_waiting *waiting = &net->waiting;
    const int asked = waiting->active && vp_net_equal(waiting->next_hop, hop, 4);
    if (!asked) {
        waiting->requests = 1;
        waiting->asked_ms = now_ms;
        vp_net_request_mac(net, hop);
    }
    waiting->active = 1;
    memcpy(waiting->next_hop, hop, 4);
    memcpy(waiting->to, to, 4);
    waiting->port = port;
    waiting->size = (uint16_t)size;
    memcpy(waiting->data, data, size);
    return VP_NET_WAITING;
}

void vp_net_send_waiting(vp_net *net)
{
    vp_net_waiting *waiting = &net->waiting;
    if (!waiting->active) {
        return;
    }
    const vp_net_neighbour *neighbour = vp_net_find_neighbour(net, waiting->next_hop);
    if (neighbour != NULL) {
        waiting->active = 0;
        send_udp(net, neighbour->mac, waiting->to, waiting->port, waiting->data, waiting->size);
    }
}

static void poll_waiting(vp_net *net, uint64_t now_ms)
{
    vp_net_waiting *waiting = &net->waiting;
    if (!waiting->active || now_ms - waiting->asked_ms < VP_NET_ARP_RETRY_MS) {
        return;
    }
    if (waiting->requests >= VP_NET_ARP_RETRIES) {
        waiting->active = 0;
        return;
    }
    waiting->requests++;
    waiting->asked_ms = now_ms;
    vp_net_request_mac(net, waiting->next_hop);
}

void vp_net_poll(vp_net *net, uint64_t now_ms)
{
    poll_waiting(net, now_ms);
    vp_net_poll_igmp(net, now_ms);
}

int vp_net_receive(vp_net *net, const uint8_t *frame, size_t size, uint64_t now_ms,
                   vp_net_datagram *datagram)
{
    int result = VP_NET_MALFORMED;
    if (size >= ETHERNET_HEADER && size <= VP_NET_MAX_FRAME) {
        const uint16_t type = vp_net_get16(frame + 12);
        result = VP_NET_OK;
        if ((frame[0] & 1u) != 0u || vp_net_equal(frame, net->config.mac, 6)) {
            if (type == TYPE_ARP) {
                result = vp_net_receive_arp(net, frame + ETHERNET_HEADER, size - ETHERNET_HEADER,
                                            now_ms);
            } else if (type == TYPE_IPV4) {
                result = vp_net_receive_ipv4(net, frame, size, now_ms, datagram);
            }
        }
    }
    return result;
}

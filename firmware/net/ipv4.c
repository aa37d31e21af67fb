#include <string.h>

#include "net_state.h"

#define FRAGMENT_MASK 0x3fffu
#define ECHO_REQUEST 8u
#define ECHO_REPLY 0u
#define ECHO_HEADER 8u

/* RFC 1071: sum of big-endian 16-bit words, an odd last byte as the high half of one. */
uint32_t vp_net_sum(uint32_t sum, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i + 1u < size; i += 2u) {
        sum += vp_net_get16(data + i);
    }
    if (size % 2u != 0u) {
        sum += (uint32_t)data[size - 1u] << 8;
    }
    return sum;
}

uint16_t vp_net_fold(uint32_t sum)
{
    sum = (sum >> 16) + (sum & 0xffffu);
    sum = (sum >> 16) + (sum & 0xffffu);
    return (uint16_t)(~sum & 0xffffu);
}

/* `addresses`: source and destination, as they stand in an IPv4 header. */
uint32_t vp_net_pseudo_sum(const uint8_t *addresses, uint8_t protocol, size_t size)
{
    return vp_net_sum((uint32_t)(protocol + size), addresses, 8);
}

static int is_broadcast(const vp_net *net, const uint8_t to[4])
{
    uint8_t everyone = 255;
    uint8_t subnet = 255;
    for (unsigned i = 0; i < 4u; i++) {
        const uint8_t mask = net->config.netmask[i];
        everyone &= to[i];
        if (((to[i] ^ net->config.address[i]) & mask) != 0u || (to[i] | mask) != 255u) {
            subnet = 0;
        }
    }
    return everyone == 255u || subnet != 0u;
}

static int receive_udp(uint16_t port, const uint8_t *ip, const uint8_t *udp, size_t size,
                       vp_net_datagram *datagram)
{
    if (size < UDP_HEADER) {
        return VP_NET_MALFORMED;
    }
    const size_t udp_size = vp_net_get16(udp + 4);
    if (udp_size < UDP_HEADER || udp_size > size) {
        return VP_NET_MALFORMED;
    }
    if (vp_net_get16(udp + 2) != port) {
        return VP_NET_OK;
    }
    if (vp_net_get16(udp + 6) != 0u) {
        const uint32_t sum = vp_net_pseudo_sum(ip + 12, PROTOCOL_UDP, udp_size);
        if (vp_net_fold(vp_net_sum(sum, udp, udp_size)) != 0u) {
            return VP_NET_MALFORMED;
        }
    }
    memcpy(datagram->source, ip + 12, 4);
    datagram->source_port = vp_net_get16(udp);
    datagram->size = udp_size - UDP_HEADER;
    datagram->data = udp + UDP_HEADER;
    return VP_NET_DATAGRAM;
}

static int receive_echo(vp_net *net, const uint8_t *frame, const uint8_t *ip, const uint8_t *icmp,
                        size_t size)
{
    uint8_t reply[VP_NET_HEADERS + VP_NET_MAX_PAYLOAD];
    uint8_t *out = reply + ETHERNET_HEADER + IPV4_HEADER;
    if (size < ECHO_HEADER || vp_net_fold(vp_net_sum(0, icmp, size)) != 0u) {
        return VP_NET_MALFORMED;
    }
    if (icmp[0] != ECHO_REQUEST || size > ECHO_HEADER + VP_NET_MAX_PAYLOAD) {
        return VP_NET_OK;
    }
    memcpy(out, icmp, size);
    out[0] = ECHO_REPLY;
    vp_net_put16(out + 2, 0);
    vp_net_put16(out + 2, vp_net_fold(vp_net_sum(0, out, size)));
    vp_net_send_ipv4(net, frame + 6, ip + 12, PROTOCOL_ICMP, reply, size);
    return VP_NET_OK;
}

int vp_net_receive_ipv4(vp_net *net, const uint8_t *frame, size_t size, uint64_t now_ms,
                        vp_net_datagram *datagram)
{
    const uint8_t *ip = frame + ETHERNET_HEADER;
    size -= ETHERNET_HEADER;
    if (size < IPV4_HEADER || ip[0] >> 4 != 4u) {
        return VP_NET_MALFORMED;
    }
    const size_t header = (size_t)(ip[0] & 15u) * 4u;
    const size_t total = vp_net_get16(ip + 2);
    if (header < IPV4_HEADER || total < header || total > size ||
        vp_net_fold(vp_net_sum(0, ip, header)) != 0u) {
        return VP_NET_MALFORMED;
    }
    if ((vp_net_get16(ip + 6) & FRAGMENT_MASK) != 0u) {
        return VP_NET_OK;
    }
    if (ip[9] == PROTOCOL_IGMP) {
        return vp_net_receive_igmp(net, ip, ip + header, total - header, now_ms);
    }
    const int to_me = vp_net_equal(ip + 16, net->config.address, 4);
    const int to_group = (ip[16] & 0xf0u) == 0xe0u && vp_net_equal(ip + 16, net->config.group, 4);
    if (ip[9] == PROTOCOL_UDP && (to_me || to_group || is_broadcast(net, ip + 16))) {
        return receive_udp(to_group ? net->config.group_port : net->config.port, ip, ip + header,
                           total - header, datagram);
    }
    if (ip[9] == PROTOCOL_ICMP && to_me) {
        return receive_echo(net, frame, ip, ip + header, total - header);
    }
    return VP_NET_OK;
}

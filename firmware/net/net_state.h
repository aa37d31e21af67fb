/**
 * @file net_state.h
 * What the files of this folder share: header layouts, big-endian numbers, functions between them.
 */
#ifndef VP_NET_STATE_H
#define VP_NET_STATE_H

#include "vp/net.h"

#define ETHERNET_HEADER 14u
#define IPV4_HEADER 20u
#define UDP_HEADER 8u

#define TYPE_IPV4 0x0800u
#define TYPE_ARP 0x0806u
#define PROTOCOL_ICMP 1u
#define PROTOCOL_IGMP 2u
#define PROTOCOL_UDP 17u

static inline uint16_t vp_net_get16(const uint8_t *from)
{
    return (uint16_t)(from[0] << 8 | from[1]);
}

static inline void vp_net_put16(uint8_t *to, uint32_t value)
{
    to[0] = (uint8_t)(value >> 8 & 255u);
    to[1] = (uint8_t)(value & 255u);
}

/* arp.c */
int vp_net_receive_arp(vp_net *net, const uint8_t *packet, size_t size, uint64_t now_ms);
vp_net_neighbour *vp_net_find_neighbour(vp_net *net, const uint8_t address[4]);
void vp_net_request_mac(vp_net *net, const uint8_t address[4]);

/* ipv4.c */
uint32_t vp_net_sum(uint32_t sum, const uint8_t *data, size_t size);
uint16_t vp_net_fold(uint32_t sum);
uint32_t vp_net_pseudo_sum(const uint8_t *addresses, uint8_t protocol, size_t size);
int vp_net_receive_ipv4(vp_net *net, const uint8_t *frame, size_t size, uint64_t now_ms,
                        vp_net_datagram *datagram);

/* igmp.c */
void vp_net_poll_igmp(vp_net *net, uint64_t now_ms);
int vp_net_receive_igmp(vp_net *net, const uint8_t *ip, const uint8_t *igmp, size_t size,
                        uint64_t now_ms);

/* net.c */
int vp_net_equal(const uint8_t *a, const uint8_t *b, size_t size);
void vp_net_send_frame(vp_net *net, uint8_t *frame, size_t size);
void vp_net_send_ipv4(vp_net *net, const uint8_t mac[6], const uint8_t to[4], uint8_t protocol,
                      uint8_t *frame, size_t payload_size);
void vp_net_send_waiting(vp_net *net);

#endif

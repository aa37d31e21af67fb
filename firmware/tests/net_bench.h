/**
 * @file net_bench.h
 * Frames for the tests of firmware/net, built by a second statement of the formats.
 */
#ifndef VP_TESTS_NET_BENCH_H
#define VP_TESTS_NET_BENCH_H

#include <string.h>

#include "check.h"
#include "vp/net.h"

#define PORT 5000
#define GROUP_PORT 47801
#define MAX_SENT 16

static const uint8_t my_mac[6] = {2, 0, 0, 0, 0, 7};
static const uint8_t peer_mac[6] = {2, 0, 0, 0, 0, 9};
static const uint8_t other_mac[6] = {2, 0, 0, 0, 0, 11};
static const uint8_t broadcast_mac[6] = {255, 255, 255, 255, 255, 255};
static const uint8_t group_mac[6] = {1, 0, 94, 1, 2, 3};
static const uint8_t group[4] = {239, 129, 2, 3}; /* Its MAC lacks the upper bit of the 129. */
static const uint8_t my_address[4] = {10, 0, 2, 15};
static const uint8_t peer[4] = {10, 0, 2, 2};
static const uint8_t router[4] = {10, 0, 2, 1};
static const uint8_t far_away[4] = {192, 168, 7, 1};

typedef struct sent_frame {
    uint8_t bytes[VP_NET_HEADERS + VP_NET_MAX_PAYLOAD];
    size_t size;
} sent_frame;

static sent_frame sent[MAX_SENT];
static int sent_count;

static inline void record(void *context, const uint8_t *frame, size_t size)
{
    (void)context;
    CHECK(sent_count < MAX_SENT && size >= VP_NET_MIN_FRAME && size <= sizeof(sent[0].bytes));
    memcpy(sent[sent_count].bytes, frame, size);
    sent[sent_count++].size = size;
}

static inline void start(vp_net *net)
{
    vp_net_config config = {.netmask = {255, 255, 255, 0}, .port = PORT, .send = record};
    memcpy(config.mac, my_mac, 6);
    memcpy(config.address, my_address, 4);
    memcpy(config.router, router, 4);
    CHECK(vp_net_init(net, &config) == VP_NET_OK);
    sent_count = 0;
}

static inline void put16(uint8_t *to, size_t value)
{
    to[0] = (uint8_t)(value >> 8 & 255u);
    to[1] = (uint8_t)(value & 255u);
}

static inline uint16_t checksum(const uint8_t *head, size_t head_size, const uint8_t *data, size_t size)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < head_size + size; i++) {
        const uint8_t byte = i < head_size ? head[i] : data[i - head_size];
        sum += i % 2u == 0u ? (uint32_t)byte << 8 : byte;
    }
    while (sum > 65535u) {
        sum = (sum & 65535u) + (sum >> 16);
    }
    return (uint16_t)(65535u - sum);
}

static inline size_t arp(uint8_t *frame, const uint8_t *to, uint16_t operation, const uint8_t *mac,
                  const uint8_t *sender, const uint8_t *target)
{
    static const uint8_t head[8] = {0, 1, 8, 0, 6, 4, 0, 0};
    memset(frame, 0, 60);
    memcpy(frame, to, 6);
    memcpy(frame + 6, mac, 6);
    put16(frame + 12, 0x0806);
    memcpy(frame + 14, head, 8);
    put16(frame + 20, operation);
    memcpy(frame + 22, mac, 6);
    memcpy(frame + 28, sender, 4);
    memcpy(frame + 38, target, 4);
    return 60;
}

static inline void seal_ip(uint8_t *frame)
{
    put16(frame + 24, 0);
    put16(frame + 24, checksum(NULL, 0, frame + 14, (size_t)(frame[14] & 15u) * 4u));
}

static inline size_t ip(uint8_t *frame, const uint8_t *mac, const uint8_t *to, uint8_t protocol,
                 size_t payload_size)
{
    memset(frame, 0, 34);
    memcpy(frame, mac, 6);
    memcpy(frame + 6, peer_mac, 6);
    put16(frame + 12, 0x0800);
    frame[14] = 0x45;
    put16(frame + 16, 20u + payload_size);
    frame[22] = 64;
    frame[23] = protocol;
    memcpy(frame + 26, peer, 4);
    memcpy(frame + 30, to, 4);
    seal_ip(frame);
    return 34u + payload_size;
}

static inline void seal_udp(uint8_t *frame, size_t udp_size)
{
    uint8_t pseudo[12];
    memcpy(pseudo, frame + 26, 8);
    put16(pseudo + 8, 17);
    put16(pseudo + 10, udp_size);
    put16(frame + 40, 0);
    put16(frame + 40, checksum(pseudo, 12, frame + 34, udp_size));
}

static inline size_t udp_to(uint8_t *frame, const uint8_t *mac, const uint8_t *to, uint16_t port,
                            const char *text)
{
    const size_t size = strlen(text);
    put16(frame + 34, 777);
    put16(frame + 36, port);
    put16(frame + 38, 8u + size);
    memcpy(frame + 42, text, size);
    const size_t total = ip(frame, mac, to, 17, 8u + size);
    seal_udp(frame, 8u + size);
    return total;
}

static inline size_t udp(uint8_t *frame, const uint8_t *mac, const uint8_t *to, const char *text)
{
    return udp_to(frame, mac, to, PORT, text);
}

#endif

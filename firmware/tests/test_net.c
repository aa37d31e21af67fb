/* Ethernet, ARP, IPv4, UDP and ICMP echo, frame by frame. */
#include "net_bench.h"

static int receive(vp_net *net, const uint8_t *frame, size_t size, vp_net_datagram *datagram)
{
    /* A copy of exactly that size, so that the sanitizer sees every byte read beyond it. */
    static uint8_t exact[2048];
    CHECK(size <= sizeof(exact));
    uint8_t *at = exact + sizeof(exact) - size;
    memcpy(at, frame, size);
    return vp_net_receive(net, at, size, 1000, datagram);
}

static void test_answers_arp(void)
{
    vp_net net;
    vp_net_datagram datagram;
    uint8_t frame[64];
    uint8_t reply[64];
    start(&net);
    CHECK(receive(&net, frame, arp(frame, broadcast_mac, 1, peer_mac, peer, my_address),
                  &datagram) == VP_NET_OK);
    CHECK(sent_count == 1);
    (void)arp(reply, peer_mac, 2, my_mac, my_address, peer);
    memcpy(reply + 32, peer_mac, 6);
    CHECK(sent[0].size == 60u && memcmp(sent[0].bytes, reply, 60) == 0);
    CHECK(receive(&net, frame, arp(frame, broadcast_mac, 1, peer_mac, peer, router), &datagram) ==
          VP_NET_OK);
    CHECK(receive(&net, frame, arp(frame, other_mac, 1, peer_mac, peer, my_address), &datagram) ==
          VP_NET_OK);
    CHECK(sent_count == 1);
}

/* What others say to each other fills no slot. */
static void test_learns_only_what_concerns_it(void)
{
    vp_net net;
    vp_net_datagram datagram;
    uint8_t frame[64];
    start(&net);
    (void)receive(&net, frame, arp(frame, broadcast_mac, 1, peer_mac, peer, router), &datagram);
    CHECK(vp_net_send(&net, peer, 1, frame, 1, 2000) == VP_NET_WAITING);
    (void)receive(&net, frame, arp(frame, broadcast_mac, 1, peer_mac, peer, my_address), &datagram);
    CHECK(vp_net_send(&net, peer, 1, frame, 1, 2000) == VP_NET_OK);
}

/* A sum that comes out as 0 is sent as its other representation: 0 means that there is none. */
static void test_udp_checksum_is_never_zero(void)
{
    vp_net net;
    vp_net_datagram datagram;
    uint8_t frame[64];
    uint8_t payload[2] = {0, 0};
    start(&net);
    (void)receive(&net, frame, arp(frame, my_mac, 2, peer_mac, peer, my_address), &datagram);
    CHECK(vp_net_send(&net, peer, 1, payload, 2, 2000) == VP_NET_OK);
    memcpy(payload, sent[0].bytes + 40, 2);
    CHECK(vp_net_send(&net, peer, 1, payload, 2, 2000) == VP_NET_OK);
    CHECK(sent[1].bytes[40] == 255u && sent[1].bytes[41] == 255u);
}

static void test_sends_through_arp(void)
{
    vp_net net;
    vp_net_datagram datagram;
    uint8_t frame[64];
    start(&net);
    CHECK(vp_net_send(&net, peer, 47000, (const uint8_t *)"lost", 4, 0) == VP_NET_WAITING);
    CHECK(vp_net_send(&net, peer, 47000, (const uint8_t *)"hello", 5, 10) == VP_NET_WAITING);
    CHECK(sent_count == 1);
    (void)arp(frame, broadcast_mac, 1, my_mac, my_address, peer);
    CHECK(memcmp(sent[0].bytes, frame, 60) == 0);
    CHECK(receive(&net, frame, arp(frame, my_mac, 2, peer_mac, peer, my_address), &datagram) ==
          VP_NET_OK);
    CHECK(sent_count == 2);

    uint8_t *got = sent[1].bytes;
    CHECK(memcmp(got, peer_mac, 6) == 0 && memcmp(got + 6, my_mac, 6) == 0);
    CHECK(memcmp(got + 26, my_address, 4) == 0 && memcmp(got + 30, peer, 4) == 0);
    CHECK(checksum(NULL, 0, got + 14, 20) == 0u);
    CHECK(got[34] == PORT >> 8 && got[35] == (PORT & 255) && got[36] == 47000 >> 8);
    CHECK(got[39] == 13u && memcmp(got + 42, "hello", 5) == 0);
    uint8_t pseudo[12];
    memcpy(pseudo, got + 26, 8);
    put16(pseudo + 8, 17);
    put16(pseudo + 10, 13);
    CHECK(checksum(pseudo, 12, got + 34, 13) == 0u);

    CHECK(vp_net_send(&net, peer, 47000, (const uint8_t *)"again", 5, 2000) == VP_NET_OK);
    CHECK(sent_count == 3);
}

static void test_routes(void)
{
    vp_net net;
    vp_net_datagram datagram;
    uint8_t frame[64];
    uint8_t payload[VP_NET_MAX_PAYLOAD + 1] = {0};
    start(&net);
    CHECK(vp_net_send(&net, far_away, 1, payload, VP_NET_MAX_PAYLOAD, 0) == VP_NET_WAITING);
    CHECK(memcmp(sent[0].bytes + 38, router, 4) == 0);
    (void)receive(&net, frame, arp(frame, my_mac, 2, other_mac, router, my_address), &datagram);
    CHECK(sent_count == 2 && sent[1].size == VP_NET_HEADERS + VP_NET_MAX_PAYLOAD);
    CHECK(memcmp(sent[1].bytes, other_mac, 6) == 0 && memcmp(sent[1].bytes + 30, far_away, 4) == 0);
    CHECK(vp_net_send(&net, far_away, 1, payload, sizeof(payload), 0) == VP_NET_SIZE);
    memset(net.config.router, 0, 4);
    CHECK(vp_net_send(&net, far_away, 1, payload, 1, 0) == VP_NET_NO_ROUTE);
}

static void test_arp_retries_and_ages(void)
{
    vp_net net;
    vp_net_datagram datagram;
    uint8_t frame[64];
    start(&net);
    (void)vp_net_send(&net, peer, 1, frame, 1, 0);
    for (uint64_t now = 0; now < 100 * VP_NET_ARP_RETRY_MS; now += 10) {
        vp_net_poll(&net, now);
    }
    CHECK(sent_count == VP_NET_ARP_RETRIES);
    (void)receive(&net, frame, arp(frame, my_mac, 2, peer_mac, peer, my_address), &datagram);
    CHECK(sent_count == VP_NET_ARP_RETRIES);
    sent_count = 0;
    CHECK(vp_net_send(&net, peer, 1, frame, 1, 1000 + VP_NET_ARP_AGE_MS - 1) == VP_NET_OK);
    CHECK(sent_count == 1);
    CHECK(vp_net_send(&net, peer, 1, frame, 1, 1000 + VP_NET_ARP_AGE_MS) == VP_NET_OK);
    CHECK(sent_count == 3);
    (void)receive(&net, frame, arp(frame, broadcast_mac, 1, other_mac, peer, router), &datagram);
    CHECK(vp_net_send(&net, peer, 1, frame, 1, 1000) == VP_NET_OK);
    CHECK(memcmp(sent[3].bytes, other_mac, 6) == 0);
}

static void test_neighbours_are_replaced(void)
{
    vp_net net;
    uint8_t frame[64];
    vp_net_datagram datagram;
    start(&net);
    for (uint8_t i = 1; i <= 3 * VP_NET_ARP_ENTRIES; i++) {
        const uint8_t address[4] = {10, 0, 2, (uint8_t)(100 + i)};
        const uint8_t mac[6] = {2, 0, 0, 0, 1, i};
        (void)arp(frame, broadcast_mac, 1, mac, address, my_address);
        (void)vp_net_receive(&net, frame, 60, i, &datagram);
        sent_count = 0;
        CHECK(vp_net_send(&net, address, 1, frame, 1, i) == VP_NET_OK);
        CHECK(memcmp(sent[0].bytes, mac, 6) == 0);
    }
}

static void expect_hi(vp_net *net, const uint8_t *frame, size_t size)
{
    vp_net_datagram datagram;
    CHECK(receive(net, frame, size, &datagram) == VP_NET_DATAGRAM);
    CHECK(datagram.size == 2u && memcmp(datagram.data, "hi", 2) == 0);
    CHECK(datagram.source_port == 777 && memcmp(datagram.source, peer, 4) == 0);
}

static void test_receives_udp(void)
{
    static const uint8_t everyone[4] = {255, 255, 255, 255};
    static const uint8_t subnet[4] = {10, 0, 2, 255};
    vp_net net;
    vp_net_datagram datagram;
    uint8_t frame[128] = {0};
    start(&net);
    expect_hi(&net, frame, udp(frame, my_mac, my_address, "hi"));
    expect_hi(&net, frame, udp(frame, broadcast_mac, everyone, "hi"));
    expect_hi(&net, frame, udp(frame, broadcast_mac, subnet, "hi"));
    size_t size = udp(frame, my_mac, my_address, "hi");
    expect_hi(&net, frame, size + 14u); /* Ethernet's padding */
    put16(frame + 40, 0);
    expect_hi(&net, frame, size); /* no checksum */

    CHECK(receive(&net, frame, udp(frame, my_mac, peer, "hi"), &datagram) == VP_NET_OK);
    CHECK(receive(&net, frame, udp(frame, group_mac, group, "hi"), &datagram) == VP_NET_OK);
    CHECK(receive(&net, frame, udp_to(frame, my_mac, my_address, GROUP_PORT, "hi"), &datagram) ==
          VP_NET_OK);
    CHECK(receive(&net, frame, udp(frame, other_mac, my_address, "hi"), &datagram) == VP_NET_OK);
    size = udp(frame, my_mac, my_address, "hi");
    put16(frame + 36, PORT + 1);
    CHECK(receive(&net, frame, size, &datagram) == VP_NET_OK);
    size = udp(frame, my_mac, my_address, "hi");
    frame[20] = 0x20; /* the first of several fragments */
    seal_ip(frame);
    CHECK(receive(&net, frame, size, &datagram) == VP_NET_OK);
    CHECK(sent_count == 0);
}

static void test_ip_options_are_skipped(void)
{
    vp_net net;
    vp_net_datagram datagram;
    uint8_t frame[128] = {0};
    start(&net);
    (void)udp(frame, my_mac, my_address, "hi");
    memmove(frame + 38, frame + 34, 10);
    memset(frame + 34, 1, 4);
    frame[14] = 0x46;
    put16(frame + 16, 34);
    seal_ip(frame);
    CHECK(receive(&net, frame, 48, &datagram) == VP_NET_DATAGRAM && datagram.size == 2u);
}

static void test_malformed(void)
{
    static const struct {
        size_t at;
        uint8_t value;
    } edits[] = {{14, 0x44}, {14, 0x65}, {14, 0x4f}, {17, 19}, {17, 31}, {22, 63},
                 {39, 7},    {39, 11},   {43, 'x'},  {40, 1}};
    vp_net net;
    vp_net_datagram datagram;
    uint8_t frame[128] = {0};
    start(&net);
    for (size_t i = 0; i < sizeof(edits) / sizeof(edits[0]); i++) {
        const size_t size = udp(frame, my_mac, my_address, "hi");
        frame[edits[i].at] = edits[i].value;
        if (edits[i].at < 20u) {
            seal_ip(frame);
        }
        CHECK(receive(&net, frame, size, &datagram) == VP_NET_MALFORMED);
    }
    for (size_t size = 0; size < udp(frame, my_mac, my_address, "hi"); size++) {
        CHECK(receive(&net, frame, size, &datagram) == VP_NET_MALFORMED);
    }
    for (size_t size = 14; size < 42; size++) {
        (void)arp(frame, my_mac, 1, peer_mac, peer, my_address);
        CHECK(receive(&net, frame, size, &datagram) == VP_NET_MALFORMED);
    }
    CHECK(sent_count == 0);
}

static void test_answers_echo(void)
{
    vp_net net;
    vp_net_datagram datagram;
    uint8_t frame[64];
    start(&net);
    memset(frame + 34, 0, 8);
    frame[34] = 8;
    memcpy(frame + 42, "ping!", 5);
    put16(frame + 36, checksum(NULL, 0, frame + 34, 13));
    const size_t size = ip(frame, my_mac, my_address, 1, 13);
    CHECK(receive(&net, frame, size, &datagram) == VP_NET_OK && sent_count == 1);
    CHECK(sent[0].bytes[34] == 0u && memcmp(sent[0].bytes + 42, "ping!", 5) == 0);
    CHECK(memcmp(sent[0].bytes, peer_mac, 6) == 0 && memcmp(sent[0].bytes + 30, peer, 4) == 0);
    CHECK(checksum(NULL, 0, sent[0].bytes + 34, 13) == 0u);
    frame[42] ^= 1u;
    CHECK(receive(&net, frame, size, &datagram) == VP_NET_MALFORMED && sent_count == 1);
}

/* Random bytes over good frames, with their IP checksum made right again so that they get far. */
static void test_random_frames(void)
{
    vp_net net;
    uint32_t random = 5;
    start(&net);
    for (int round = 0; round < 200000; round++) {
        uint8_t frame[128] = {0};
        vp_net_datagram datagram;
        size_t size = (round & 1) ? udp(frame, my_mac, my_address, "some payload")
                                  : arp(frame, broadcast_mac, 1, peer_mac, peer, my_address);
        for (int i = 0; i < 3; i++) {
            random = random * 1664525u + 1013904223u;
            frame[12u + (random >> 8) % 32u] = (uint8_t)(random >> 24);
        }
        if ((random & 128u) != 0u) {
            size = (random >> 16) % (size + 1u);
        }
        if ((frame[14] & 15u) >= 5u) {
            seal_ip(frame);
        }
        sent_count = 0;
        if (receive(&net, frame, size, &datagram) == VP_NET_DATAGRAM) {
            CHECK(datagram.size <= size);
        }
    }
}

static void test_configuration_is_checked(void)
{
    vp_net net;
    vp_net_config good;
    start(&net);
    good = net.config;
#define REFUSED(change)                                          \
    do {                                                         \
        vp_net_config config = good;                             \
        change;                                                  \
        CHECK(vp_net_init(&net, &config) == VP_NET_CONFIG);      \
    } while (0)
    REFUSED(memset(config.address, 0, 4));
    REFUSED(memset(config.mac, 0, 6));
    REFUSED(config.mac[0] = 1);
    REFUSED(config.port = 0);
    REFUSED(config.send = NULL);
}

int main(void)
{
    test_answers_arp();
    test_learns_only_what_concerns_it();
    test_udp_checksum_is_never_zero();
    test_sends_through_arp();
    test_routes();
    test_arp_retries_and_ages();
    test_neighbours_are_replaced();
    test_receives_udp();
    test_ip_options_are_skipped();
    test_malformed();
    test_answers_echo();
    test_random_frames();
    test_configuration_is_checked();
    CHECK_DONE();
}

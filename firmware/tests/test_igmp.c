/* Membership in a multicast group: IGMPv2 reports, queries, datagrams to the group. */
#include "net_bench.h"

#define FIRST_REPORTS (1 + VP_NET_IGMP_EARLY_REPORTS)

static const uint8_t all_systems[4] = {224, 0, 0, 1};
static const uint8_t all_systems_mac[6] = {1, 0, 94, 0, 0, 1};

static void join(vp_net *net)
{
    vp_net_config config;
    start(net);
    config = net->config;
    memcpy(config.group, group, 4);
    config.group_port = GROUP_PORT;
    CHECK(vp_net_init(net, &config) == VP_NET_OK);
}

static int receive(vp_net *net, const uint8_t *frame, size_t size, uint64_t now_ms)
{
    /* A copy of exactly that size, so that the sanitizer sees every byte read beyond it. */
    static uint8_t exact[2048];
    vp_net_datagram datagram;
    CHECK(size <= sizeof(exact));
    uint8_t *at = exact + sizeof(exact) - size;
    memcpy(at, frame, size);
    return vp_net_receive(net, at, size, now_ms, &datagram);
}

/* An IGMP message with Router Alert, as a router sends it. */
static size_t igmp(uint8_t *frame, const uint8_t *to, uint8_t type, uint8_t tenths,
                   const uint8_t *about)
{
    static const uint8_t router_alert[4] = {0x94, 4, 0, 0};
    (void)ip(frame, all_systems_mac, to, 2, 12);
    frame[14] = 0x46;
    frame[22] = 1;
    memcpy(frame + 34, router_alert, 4);
    seal_ip(frame);
    frame[38] = type;
    frame[39] = tenths;
    put16(frame + 40, 0);
    memcpy(frame + 42, about, 4);
    put16(frame + 40, checksum(NULL, 0, frame + 38, 8));
    return 46;
}

static size_t general_query(uint8_t *frame, uint8_t tenths)
{
    static const uint8_t any[4];
    return igmp(frame, all_systems, 0x11, tenths, any);
}

static void expect_report(const sent_frame *report)
{
    const uint8_t *bytes = report->bytes;
    CHECK(report->size == 60u);
    CHECK(memcmp(bytes, group_mac, 6) == 0 && memcmp(bytes + 6, my_mac, 6) == 0);
    CHECK(bytes[12] == 8u && bytes[13] == 0u && bytes[14] == 0x46u);
    CHECK(bytes[16] == 0u && bytes[17] == 32u);
    CHECK(bytes[22] == 1u && bytes[23] == 2u);
    CHECK(checksum(NULL, 0, bytes + 14, 24) == 0u);
    CHECK(memcmp(bytes + 26, my_address, 4) == 0 && memcmp(bytes + 30, group, 4) == 0);
    CHECK(bytes[34] == 0x94u && bytes[35] == 4u && bytes[36] == 0u && bytes[37] == 0u);
    CHECK(bytes[38] == 0x16u && bytes[39] == 0u && memcmp(bytes + 42, group, 4) == 0);
    CHECK(checksum(NULL, 0, bytes + 38, 8) == 0u);
}

/* Polls every 10 ms. @return when the last report before `until` went, or 0. */
static uint64_t run(vp_net *net, uint64_t from, uint64_t until)
{
    uint64_t last = 0;
    for (uint64_t now = from; now < until; now += 10u) {
        const int before = sent_count;
        vp_net_poll(net, now);
        if (sent_count > before) {
            last = now;
        }
    }
    return last;
}

/* Past the reports of the start; nothing more is due for a period. @return the time. */
static uint64_t settle(vp_net *net)
{
    const uint64_t settled = 1000u + FIRST_REPORTS * VP_NET_IGMP_EARLY_MS;
    (void)run(net, 1000, settled);
    CHECK(sent_count == FIRST_REPORTS);
    sent_count = 0;
    return settled;
}

static void test_reports_at_the_start_and_now_and_then(void)
{
    vp_net net;
    join(&net);
    vp_net_poll(&net, 1000);
    CHECK(sent_count == 1);
    expect_report(&sent[0]);
    const uint64_t last = run(&net, 1000, 2 * VP_NET_IGMP_PERIOD_MS);
    CHECK(sent_count == FIRST_REPORTS + 1);
    CHECK(last == 1000 + VP_NET_IGMP_EARLY_REPORTS * VP_NET_IGMP_EARLY_MS + VP_NET_IGMP_PERIOD_MS);
    expect_report(&sent[FIRST_REPORTS]);
    CHECK(memcmp(sent[0].bytes + 18, sent[1].bytes + 18, 2) != 0); /* identification */
}

static void test_without_a_group_it_says_nothing(void)
{
    vp_net net;
    uint8_t frame[64] = {0};
    start(&net);
    (void)run(&net, 0, 1000);
    CHECK(receive(&net, frame, general_query(frame, 1), 1000) == VP_NET_OK);
    (void)run(&net, 1000, 3000);
    CHECK(sent_count == 0);
    join(&net);
    memcpy(net.config.group, all_systems, 4);
    (void)run(&net, 0, 1000);
    CHECK(receive(&net, frame, general_query(frame, 1), 1000) == VP_NET_OK);
    (void)run(&net, 1000, 3000);
    CHECK(sent_count == 0);
}

static void test_answers_queries_within_their_time(void)
{
    for (uint8_t tenths = 0; tenths < 250u; tenths = (uint8_t)(tenths + 10u)) {
        vp_net net;
        uint8_t frame[64] = {0};
        join(&net);
        const uint64_t now = settle(&net);
        const uint64_t limit = tenths != 0u ? tenths * 100u : 10000u;
        CHECK(receive(&net, frame, general_query(frame, tenths), now) == VP_NET_OK);
        CHECK(sent_count == 0);
        const uint64_t answered = run(&net, now, now + limit + 10u);
        CHECK(sent_count == 1 && answered > now);
        expect_report(&sent[0]);
        (void)run(&net, now + limit, now + limit + VP_NET_IGMP_PERIOD_MS / 4);
        CHECK(sent_count == 1);
    }
}

static void test_answers_spread(void)
{
    uint64_t earliest = UINT64_MAX;
    uint64_t latest = 0;
    for (uint8_t node = 0; node < 32u; node++) {
        vp_net net;
        uint8_t frame[64] = {0};
        join(&net);
        net.config.mac[5] = node;
        const uint64_t now = settle(&net);
        CHECK(receive(&net, frame, general_query(frame, 100), now) == VP_NET_OK);
        const uint64_t answered = run(&net, now, now + 10010u) - now;
        earliest = answered < earliest ? answered : earliest;
        latest = answered > latest ? answered : latest;
    }
    CHECK(earliest < 2500u && latest > 7500u);
}

static void test_a_later_query_never_delays_the_answer(void)
{
    vp_net net;
    uint8_t frame[64] = {0};
    join(&net);
    const uint64_t now = settle(&net);
    (void)receive(&net, frame, general_query(frame, 5), now);
    for (uint64_t at = now; at < now + 500u; at += 10u) {
        (void)receive(&net, frame, general_query(frame, 255), at);
        (void)run(&net, at, at + 10u);
    }
    vp_net_poll(&net, now + 500u);
    CHECK(sent_count >= 1);
}

static void test_queries_about_a_group(void)
{
    vp_net net;
    uint8_t frame[64] = {0};
    join(&net);
    const uint64_t now = settle(&net);
    CHECK(receive(&net, frame, igmp(frame, group, 0x11, 10, far_away), now) == VP_NET_OK);
    CHECK(receive(&net, frame, igmp(frame, far_away, 0x11, 10, group), now) == VP_NET_OK);
    (void)run(&net, now, now + 2000u);
    CHECK(sent_count == 0);
    CHECK(receive(&net, frame, igmp(frame, group, 0x11, 10, group), now + 2000u) == VP_NET_OK);
    (void)run(&net, now + 2000u, now + 4000u);
    CHECK(sent_count == 1);
}

/* Reports of others (of versions 1 and 2), leaves, what is unknown, what came through a router. */
static void test_other_messages_change_nothing(void)
{
    static const uint8_t types[] = {0, 0x12, 0x16, 0x17, 0x22, 0x23, 255};
    vp_net net;
    uint8_t frame[64] = {0};
    join(&net);
    const uint64_t now = settle(&net);
    for (size_t i = 0; i < sizeof(types); i++) {
        CHECK(receive(&net, frame, igmp(frame, group, types[i], 10, group), now) == VP_NET_OK);
    }
    const size_t size = general_query(frame, 10);
    frame[22] = 2;
    seal_ip(frame);
    CHECK(receive(&net, frame, size, now) == VP_NET_OK);
    (void)run(&net, now, now + 5000u);
    CHECK(sent_count == 0);
    (void)receive(&net, frame, general_query(frame, 10), now + 5000u);
    (void)receive(&net, frame, igmp(frame, group, 0x16, 0, group), now + 5000u);
    (void)run(&net, now + 5000u, now + 6010u);
    CHECK(sent_count == 1);
}

/* An IGMPv3 query is longer, and means to a member of version 2 the same (RFC 3376, section 7.2.1). */
static void test_a_longer_query_is_a_query(void)
{
    vp_net net;
    uint8_t frame[64] = {0};
    join(&net);
    const uint64_t now = settle(&net);
    (void)general_query(frame, 10);
    put16(frame + 16, 36);
    seal_ip(frame);
    memset(frame + 46, 0, 4);
    frame[46] = 2;
    put16(frame + 40, 0);
    put16(frame + 40, checksum(NULL, 0, frame + 38, 12));
    CHECK(receive(&net, frame, 50, now) == VP_NET_OK);
    (void)run(&net, now, now + 1010u);
    CHECK(sent_count == 1);
}

static void test_malformed(void)
{
    vp_net net;
    uint8_t frame[64] = {0};
    join(&net);
    const uint64_t now = settle(&net);
    for (size_t size = 0; size < 46; size++) {
        (void)general_query(frame, 10);
        CHECK(receive(&net, frame, size, now) == VP_NET_MALFORMED);
    }
    for (uint8_t payload = 0; payload < 8u; payload++) {
        (void)general_query(frame, 10);
        frame[17] = (uint8_t)(24u + payload);
        seal_ip(frame);
        CHECK(receive(&net, frame, 46, now) == VP_NET_MALFORMED);
    }
    for (unsigned bit = 0; bit < 64u; bit++) {
        (void)general_query(frame, 10);
        frame[38u + bit / 8u] ^= (uint8_t)(1u << bit % 8u);
        CHECK(receive(&net, frame, 46, now) == VP_NET_MALFORMED);
    }
    (void)run(&net, now, now + 5000u);
    CHECK(sent_count == 0);
}

static void test_takes_datagrams_to_the_group(void)
{
    vp_net net;
    uint8_t frame[128] = {0};
    join(&net);
    size_t size = udp_to(frame, group_mac, group, GROUP_PORT, "hi");
    CHECK(receive(&net, frame, size, 0) == VP_NET_DATAGRAM);
    frame[43] ^= 1u;
    CHECK(receive(&net, frame, size, 0) == VP_NET_MALFORMED);
    put16(frame + 40, 0); /* no checksum */
    CHECK(receive(&net, frame, size, 0) == VP_NET_DATAGRAM);

    size = udp_to(frame, group_mac, group, PORT, "hi");
    CHECK(receive(&net, frame, size, 0) == VP_NET_OK);
    size = udp_to(frame, my_mac, my_address, GROUP_PORT, "hi");
    CHECK(receive(&net, frame, size, 0) == VP_NET_OK);
    size = udp_to(frame, my_mac, my_address, PORT, "hi");
    CHECK(receive(&net, frame, size, 0) == VP_NET_DATAGRAM);
    /* Another group that shares its MAC, as 32 of them do. */
    static const uint8_t twin[4] = {239, 1, 2, 3};
    size = udp_to(frame, group_mac, twin, GROUP_PORT, "hi");
    CHECK(receive(&net, frame, size, 0) == VP_NET_OK);
    size = udp_to(frame, group_mac, group, GROUP_PORT, "hi");
    frame[20] = 0x20; /* the first of several fragments */
    seal_ip(frame);
    CHECK(receive(&net, frame, size, 0) == VP_NET_OK);
    CHECK(sent_count == 0);
}

static void test_answers_neither_arp_nor_echo_for_the_group(void)
{
    vp_net net;
    uint8_t frame[64] = {0};
    join(&net);
    CHECK(receive(&net, frame, arp(frame, broadcast_mac, 1, peer_mac, peer, group), 0) == VP_NET_OK);
    memset(frame + 34, 0, 8);
    frame[34] = 8;
    put16(frame + 36, checksum(NULL, 0, frame + 34, 8));
    CHECK(receive(&net, frame, ip(frame, group_mac, group, 1, 8), 0) == VP_NET_OK);
    CHECK(sent_count == 0);
}

/* Random bytes over queries, with their checksums made right again so that they get far. */
static void test_random_queries(void)
{
    vp_net net;
    uint32_t random = 7;
    uint64_t now = 0;
    join(&net);
    for (int round = 0; round < 100000; round++) {
        uint8_t frame[128] = {0};
        size_t size = general_query(frame, 10);
        for (int i = 0; i < 3; i++) {
            random = random * 1664525u + 1013904223u;
            frame[14u + (random >> 8) % 32u] = (uint8_t)(random >> 24);
        }
        if ((random & 64u) != 0u) {
            put16(frame + 40, 0);
            put16(frame + 40, checksum(NULL, 0, frame + 38, 8));
        }
        if ((random & 128u) != 0u) {
            size = (random >> 16) % (size + 1u);
        }
        if ((frame[14] & 15u) >= 5u) {
            seal_ip(frame);
        }
        (void)receive(&net, frame, size, now);
        sent_count = 0;
        now += 10u;
        vp_net_poll(&net, now);
        CHECK(sent_count <= 1);
    }
}

static void test_configuration_is_checked(void)
{
    vp_net net;
    join(&net);
    vp_net_config config = net.config;
    config.group_port = 0;
    CHECK(vp_net_init(&net, &config) == VP_NET_CONFIG);
    config.group_port = 1;
    config.group[0] = 223;
    CHECK(vp_net_init(&net, &config) == VP_NET_CONFIG);
    config.group[0] = 240;
    CHECK(vp_net_init(&net, &config) == VP_NET_CONFIG);
    config.group[0] = 224;
    CHECK(vp_net_init(&net, &config) == VP_NET_OK);
}

int main(void)
{
    test_reports_at_the_start_and_now_and_then();
    test_without_a_group_it_says_nothing();
    test_answers_queries_within_their_time();
    test_answers_spread();
    test_a_later_query_never_delays_the_answer();
    test_queries_about_a_group();
    test_other_messages_change_nothing();
    test_a_longer_query_is_a_query();
    test_malformed();
    test_takes_datagrams_to_the_group();
    test_answers_neither_arp_nor_echo_for_the_group();
    test_random_queries();
    test_configuration_is_checked();
    CHECK_DONE();
}

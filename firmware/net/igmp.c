#include <string.h>

#include "net_state.h"

#define IGMP_SIZE 8u
#define QUERY 0x11u
#define REPORT 0x16u
#define ROUTER_ALERT_SIZE 4u
#define HEADER_SIZE (IPV4_HEADER + ROUTER_ALERT_SIZE)
#define TTL 1u
#define TENTH_MS 100u
#define VERSION_1_MS 10000u /* What the 0 of an IGMPv1 query means (RFC 2236, section 4). */

static const uint8_t all_systems[4] = {224, 0, 0, 1};

/* Everyone is in the group of all systems: it is never reported (RFC 2236, section 6). */
static int is_member(const vp_net *net)
{
    static const uint8_t none[4];
    return !vp_net_equal(net->config.group, none, 4) &&
           !vp_net_equal(net->config.group, all_systems, 4);
}

/* RFC 2236, sections 2 and 3; the group's MAC by RFC 1112, section 6.4; Router Alert by RFC 2113. */
static void send_report(vp_net *net)
{
    static const uint8_t router_alert[ROUTER_ALERT_SIZE] = {0x94, 4, 0, 0};
    uint8_t frame[VP_NET_MIN_FRAME] = {1, 0, 0x5e};
    uint8_t *ip = frame + ETHERNET_HEADER;
    uint8_t *igmp = ip + HEADER_SIZE;
    const uint8_t *group = net->config.group;
    frame[3] = group[1] & 0x7fu;
    frame[4] = group[2];
    frame[5] = group[3];
    memcpy(frame + 6, net->config.mac, 6);
    vp_net_put16(frame + 12, TYPE_IPV4);
    ip[0] = 0x40u | HEADER_SIZE / 4u;
    vp_net_put16(ip + 2, HEADER_SIZE + IGMP_SIZE);
    vp_net_put16(ip + 4, net->identification++);
    ip[8] = TTL;
    ip[9] = PROTOCOL_IGMP;
    memcpy(ip + 12, net->config.address, 4);
    memcpy(ip + 16, group, 4);
    memcpy(ip + IPV4_HEADER, router_alert, sizeof(router_alert));
    vp_net_put16(ip + 10, vp_net_fold(vp_net_sum(0, ip, HEADER_SIZE)));
    igmp[0] = REPORT;
    memcpy(igmp + 4, group, 4);
    vp_net_put16(igmp + 2, vp_net_fold(vp_net_sum(0, igmp, IGMP_SIZE)));
    vp_net_send_frame(net, frame, ETHERNET_HEADER + HEADER_SIZE + IGMP_SIZE);
}

void vp_net_poll_igmp(vp_net *net, uint64_t now_ms)
{
    vp_net_membership *membership = &net->membership;
    if (!is_member(net) || now_ms < membership->report_ms) {
        return;
    }
    membership->report_ms = now_ms + VP_NET_IGMP_PERIOD_MS;
    if (membership->early_reports < VP_NET_IGMP_EARLY_REPORTS) {
        membership->early_reports++;
        membership->report_ms = now_ms + VP_NET_IGMP_EARLY_MS;
    }
    send_report(net);
}

/* 1 .. limit ms, another for each node and each time: so that not all members answer at once. */
static uint32_t random_delay(vp_net *net, uint32_t limit_ms, uint64_t now_ms)
{
    vp_net_membership *membership = &net->membership;
    const uint8_t *mac = net->config.mac;
    const uint32_t own = (uint32_t)mac[3] << 16 | (uint32_t)mac[4] << 8 | mac[5];
    membership->random = (membership->random ^ own ^ (uint32_t)now_ms) * 1664525u + 1013904223u;
    return 1u + (membership->random >> 8) % limit_ms;
}

/* A query brings the next report forward. What another member reports does not suppress it: a switch
 * that snoops (RFC 4541) wants to hear from each of its ports. */
int vp_net_receive_igmp(vp_net *net, const uint8_t *ip, const uint8_t *igmp, size_t size,
                        uint64_t now_ms)
{
    static const uint8_t any[4];
    const uint8_t *group = net->config.group;
    if (!is_member(net) ||
        (!vp_net_equal(ip + 16, all_systems, 4) && !vp_net_equal(ip + 16, group, 4))) {
        return VP_NET_OK;
    }
    if (size < IGMP_SIZE || vp_net_fold(vp_net_sum(0, igmp, size)) != 0u) {
        return VP_NET_MALFORMED;
    }
    const int asked = vp_net_equal(igmp + 4, any, 4) || vp_net_equal(igmp + 4, group, 4);
    if (igmp[0] != QUERY || ip[8] != TTL || !asked) {
        return VP_NET_OK;
    }
    const uint32_t limit_ms = igmp[1] != 0u ? igmp[1] * TENTH_MS : VERSION_1_MS;
    const uint64_t due_ms = now_ms + random_delay(net, limit_ms, now_ms);
    if (due_ms < net->membership.report_ms) {
        net->membership.report_ms = due_ms;
    }
    return VP_NET_OK;
}

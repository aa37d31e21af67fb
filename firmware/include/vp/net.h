/**
 * @file vp/net.h
 * Ethernet, ARP, IPv4, UDP, the echo of ICMP and membership in one multicast group (IGMPv2, RFC 2236):
 * what a node needs to talk to its gateway, no more.
 *
 * Works on whole Ethernet frames without their checksum (the hardware's business), knows no driver.
 * No fragments, no TCP, no DHCP. The driver must hand in the frames of the group's MAC; it may hand in
 * those of all multicast.
 */
#ifndef VP_NET_H
#define VP_NET_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VP_NET_MIN_FRAME 60       /**< Shorter frames are padded with zeros. */
#define VP_NET_MAX_FRAME 1514     /**< Longest frame that is looked at. */
#define VP_NET_HEADERS 42         /**< Ethernet 14, IPv4 20, UDP 8. */
#define VP_NET_MAX_PAYLOAD 128    /**< Longest UDP or ICMP echo payload that is sent. */
#define VP_NET_ARP_ENTRIES 4      /**< Addresses whose MAC is remembered. */
#define VP_NET_ARP_RETRY_MS 250   /**< Between two requests for one address. */
#define VP_NET_ARP_RETRIES 8      /**< Requests before the waiting datagram is dropped. */
#define VP_NET_ARP_AGE_MS 60000   /**< After this an address is asked for again (and used meanwhile). */
#define VP_NET_IGMP_EARLY_REPORTS 3 /**< Reports after the first one that follow it quickly, */
#define VP_NET_IGMP_EARLY_MS 3000   /**< this far apart: a link is slow to rise at the start. */
#define VP_NET_IGMP_PERIOD_MS 60000 /**< Between later ones: some switches snoop, but none asks. */

enum vp_net_result {
    VP_NET_OK = 0,           /**< Done; received: nothing for the caller in it. */
    VP_NET_DATAGRAM = 1,     /**< A datagram for the node's port, or for its group. */
    VP_NET_WAITING = 2,      /**< Kept until the next hop's MAC is known. */
    VP_NET_SIZE = -1,        /**< Payload longer than VP_NET_MAX_PAYLOAD. */
    VP_NET_NO_ROUTE = -2,    /**< Off the subnet, and no router is known. */
    VP_NET_CONFIG = -3,      /**< Address 0, a multicast MAC, a bad group, or no send function. */
    VP_NET_MALFORMED = -4    /**< A length or checksum in the frame is wrong; it was dropped. */
};

typedef struct vp_net_config {
    uint8_t mac[6];
    uint8_t address[4];
    uint8_t netmask[4];
    uint8_t router[4];       /**< Next hop off the subnet; 0.0.0.0: none. */
    uint16_t port;           /**< UDP port that datagrams come to and from. */
    uint8_t group[4];        /**< Multicast group to be a member of; 0.0.0.0: none. */
    uint16_t group_port;     /**< UDP port of datagrams to the group. */
    void *context;           /**< Handed to send. */
    /** Sends a frame of VP_NET_MIN_FRAME .. VP_NET_HEADERS + VP_NET_MAX_PAYLOAD bytes, or drops it. */
    void (*send)(void *context, const uint8_t *frame, size_t size);
} vp_net_config;

/** A received datagram; data points into the frame. */
typedef struct vp_net_datagram {
    uint8_t source[4];
    uint16_t source_port;
    size_t size;
    const uint8_t *data;
} vp_net_datagram;

typedef struct vp_net_neighbour {
    uint8_t address[4];      /**< 0.0.0.0: free. */
    uint8_t mac[6];
    uint64_t heard_ms;
} vp_net_neighbour;

/** The one datagram that waits for a MAC; a newer one takes its place. */
typedef struct vp_net_waiting {
    uint8_t active;
    uint8_t requests;        /**< ARP requests sent for it. */
    uint8_t next_hop[4];
    uint8_t to[4];
    uint16_t port;
    uint16_t size;
    uint64_t asked_ms;
    uint8_t data[VP_NET_MAX_PAYLOAD];
} vp_net_waiting;

typedef struct vp_net_membership {
    uint8_t early_reports;   /**< Sent so far. */
    uint32_t random;
    uint64_t report_ms;      /**< When the next report is due. */
} vp_net_membership;

typedef struct vp_net {
    vp_net_config config;
    vp_net_neighbour neighbours[VP_NET_ARP_ENTRIES];
    vp_net_waiting waiting;
    vp_net_membership membership;
    uint16_t identification; /**< Of the next IPv4 header. */
} vp_net;

/** @return VP_NET_OK or VP_NET_CONFIG. */
int vp_net_init(vp_net *net, const vp_net_config *config);

/** Looks at one frame: answers ARP requests, echo requests and (by vp_net_poll) IGMP queries, learns,
 *  hands out a datagram.
 *  @return VP_NET_OK, VP_NET_DATAGRAM or VP_NET_MALFORMED. */
int vp_net_receive(vp_net *net, const uint8_t *frame, size_t size, uint64_t now_ms,
                   vp_net_datagram *datagram);

/** Sends a datagram, at once or when ARP has found the next hop.
 *  @return VP_NET_OK, VP_NET_WAITING, VP_NET_SIZE or VP_NET_NO_ROUTE. */
int vp_net_send(vp_net *net, const uint8_t to[4], uint16_t port, const uint8_t *data, size_t size,
                uint64_t now_ms);

/** Sends ARP requests and membership reports that are due; to be called every 100 ms or so. The first
 *  call reports the membership. */
void vp_net_poll(vp_net *net, uint64_t now_ms);

#ifdef __cplusplus
}
#endif

#endif

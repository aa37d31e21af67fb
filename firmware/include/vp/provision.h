/**
 * @file vp/provision.h
 * The provisioning block: what makes one image this node. 128 bytes at a fixed flash address
 * (board.toml: provision_address), written by the flash tool or loaded by the emulator.
 */
#ifndef VP_PROVISION_H
#define VP_PROVISION_H

#include <stddef.h>
#include <stdint.h>

#include "vp/wire.h"

#ifdef __cplusplus
extern "C" {
#endif

#define VP_PROVISION_SIZE 128
#define VP_PROVISION_MAGIC 0x314E5056 /**< "VPN1" */

typedef struct vp_provision {
    uint8_t fleet;
    uint16_t node;            /**< 0 .. 65534. */
    uint32_t boot;            /**< Boot counter to start from, 24 bits. */
    uint8_t authenticated;    /**< 1: node_key and group_key are in use. */
    uint8_t node_key[VP_WIRE_KEY_SIZE];
    uint8_t group_key[VP_WIRE_KEY_SIZE];
    uint8_t mac[6];
    uint8_t address[4];       /**< The node's IPv4 address; 0.0.0.0: no network. */
    uint8_t netmask[4];
    uint8_t router[4];        /**< Next hop off the subnet; 0.0.0.0: none. */
    uint8_t gateway[4];       /**< The fleet's gateway, where predictions go. */
    uint16_t port;            /**< UDP port the node listens on. */
    uint16_t gateway_port;
    uint16_t hello_ms;        /**< Heartbeat period, 100 .. 60000 ms. */
    uint8_t group[4];         /**< Multicast group, 224.0.0.0 to 239.255.255.255; 0.0.0.0: none. */
    uint16_t group_port;      /**< UDP port of what comes to the group. */
} vp_provision;

/** Reads and checks a block. @return VP_WIRE_OK, VP_WIRE_DAMAGED (magic or CRC) or VP_WIRE_VALUE. */
int vp_provision_unpack(const uint8_t block[VP_PROVISION_SIZE], vp_provision *provision);

/** Writes a block, CRC included. @return VP_WIRE_OK or VP_WIRE_VALUE. */
int vp_provision_pack(const vp_provision *provision, uint8_t block[VP_PROVISION_SIZE]);

#ifdef __cplusplus
}
#endif

#endif

/**
 * @file vp_bare.h
 * The least that a gateway can do, as a bound for what it does: ask, and throw the answers away.
 */
#ifndef VP_BARE_H
#define VP_BARE_H

#include <stdint.h>

#include "vp/wire.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A closed loop of triggers and answers that nobody reads. Set before the call but where said. */
typedef struct vp_bare {
    int socket;              /**< Non-blocking. */
    uint32_t group_address;  /**< IPv4 as a number. */
    uint16_t group_port;
    uint8_t fleet;
    uint8_t key[VP_WIRE_KEY_SIZE]; /**< The group's. */
    uint32_t nodes;          /**< Datagrams that a trigger brings. */
    uint32_t in_flight;      /**< Triggers on their way at a time. */
    uint64_t counter;        /**< Of the next message; goes on. */
    uint64_t triggers;       /**< Filled in: sent. */
    uint64_t received;       /**< Filled in: datagrams. */
    uint64_t lost;           /**< Filled in: waited for in vain. */
} vp_bare;

/** Runs until `until_ns` (CLOCK_MONOTONIC). @return 0, or a negative errno; -1 off Linux. */
int vp_bare_exchange(vp_bare *bare, uint64_t until_ns);

#ifdef __cplusplus
}
#endif

#endif

#include "vp/provision.h"

#include <string.h>

#include "bytes.h"

#define LAYOUT 1u
#define CRC_AT (VP_PROVISION_SIZE - 4)
#define BOOT_LIMIT (1u << 24)
#define HELLO_MS_MIN 100u
#define HELLO_MS_MAX 60000u

static int is_zero(const uint8_t *bytes, size_t size)
{
    uint8_t any = 0;
    for (size_t i = 0; i < size; i++) {
        any = (uint8_t)(any | bytes[i]);
    }
    return any == 0u;
}

static int network_ok(const vp_provision *p)
{
    return is_zero(p->address, sizeof(p->address)) ||
           ((p->mac[0] & 1u) == 0u && !is_zero(p->mac, sizeof(p->mac)) && p->port != 0u &&
            p->gateway_port != 0u);
}

static int group_ok(const vp_provision *p)
{
    return is_zero(p->group, sizeof(p->group)) ||
           ((p->group[0] & 0xf0u) == 0xe0u && p->group_port != 0u);
}

static int provision_ok(const vp_provision *p)
{
    return p->node != VP_WIRE_ALL_NODES && p->boot < BOOT_LIMIT && p->authenticated <= 1u &&
           p->hello_ms >= HELLO_MS_MIN && p->hello_ms <= HELLO_MS_MAX && network_ok(p) && group_ok(p);
}

int vp_provision_unpack(const uint8_t block[VP_PROVISION_SIZE], vp_provision *provision)
{
    if (vp_get32(block) != VP_PROVISION_MAGIC ||
        vp_get32(block + CRC_AT) != vp_crc32c(0, block, CRC_AT)) {
        return VP_WIRE_DAMAGED;
    }
    if (block[4] != LAYOUT) {
        return VP_WIRE_VALUE;
    }
    provision->fleet = block[5];
    provision->node = vp_get16(block + 6);
    provision->boot = vp_get32(block + 8);
    provision->authenticated = block[12];
    memcpy(provision->node_key, block + 16, VP_WIRE_KEY_SIZE);
    memcpy(provision->group_key, block + 48, VP_WIRE_KEY_SIZE);
    memcpy(provision->mac, block + 80, sizeof(provision->mac));
    provision->port = vp_get16(block + 86);
    memcpy(provision->address, block + 88, sizeof(provision->address));
    memcpy(provision->netmask, block + 92, sizeof(provision->netmask));
    memcpy(provision->router, block + 96, sizeof(provision->router));
    memcpy(provision->gateway, block + 100, sizeof(provision->gateway));
    provision->gateway_port = vp_get16(block + 104);
    provision->hello_ms = vp_get16(block + 106);
    memcpy(provision->group, block + 108, sizeof(provision->group));
    provision->group_port = vp_get16(block + 112);
    return provision_ok(provision) ? VP_WIRE_OK : VP_WIRE_VALUE;
}

int vp_provision_pack(const vp_provision *provision, uint8_t block[VP_PROVISION_SIZE])
{
    if (!provision_ok(provision)) {
        return VP_WIRE_VALUE;
    }
    memset(block, 0, VP_PROVISION_SIZE);
    vp_put32(block, VP_PROVISION_MAGIC);
    block[4] = LAYOUT;
    block[5] = provision->fleet;
    vp_put16(block + 6, provision->node);
    vp_put32(block + 8, provision->boot);
    block[12] = provision->authenticated;
    memcpy(block + 16, provision->node_key, VP_WIRE_KEY_SIZE);
    memcpy(block + 48, provision->group_key, VP_WIRE_KEY_SIZE);
    memcpy(block + 80, provision->mac, sizeof(provision->mac));
    vp_put16(block + 86, provision->port);
    memcpy(block + 88, provision->address, sizeof(provision->address));
    memcpy(block + 92, provision->netmask, sizeof(provision->netmask));
    memcpy(block + 96, provision->router, sizeof(provision->router));
    memcpy(block + 100, provision->gateway, sizeof(provision->gateway));
    vp_put16(block + 104, provision->gateway_port);
    vp_put16(block + 106, provision->hello_ms);
    memcpy(block + 108, provision->group, sizeof(provision->group));
    vp_put16(block + 112, provision->group_port);
    vp_put32(block + CRC_AT, vp_crc32c(0, block, CRC_AT));
    return VP_WIRE_OK;
}

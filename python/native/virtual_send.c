#ifdef __linux__
#define _GNU_SOURCE
#endif
#include <string.h>

#include "virtual_nodes.h"

#define CHANCES 65536u

/* xorshift64*, Vigna 2016. */
static uint32_t random32(vp_virtual *fleet)
{
    uint64_t x = fleet->random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    fleet->random = x;
    return (uint32_t)((x * 0x2545f4914f6cdd1dull) >> 32);
}

static int happens(vp_virtual *fleet, uint32_t chance)
{
    return chance != 0u && random32(fleet) % CHANCES < chance;
}

static vp_virtual_sent *new_slot(vp_virtual *fleet)
{
    if (fleet->waiting == VP_VIRTUAL_BATCH) {
        (void)vp_virtual_flush(fleet);
    }
    return &fleet->out[fleet->waiting++];
}

static int seal(const vp_virtual *fleet, vp_virtual_node *node, uint8_t type,
                const uint8_t *payload, size_t size, vp_virtual_sent *slot)
{
    const vp_wire_header header = {
        .type = type, .fleet = fleet->fleet, .node = node->id, .counter = node->counter};
    const int sealed = vp_message_seal(&header, payload, size,
                                       fleet->authenticated ? node->key : NULL, slot->data,
                                       sizeof(slot->data));
    slot->node = (uint32_t)(node - fleet->nodes);
    slot->size = (uint16_t)(sealed > 0 ? sealed : 0);
    slot->is_first_prediction = 0;
    slot->request = 0;
    node->counter++;
    return sealed;
}

/* A stranger on the network: well formed, with a counter that nobody used, under a key of its own. */
static void forge(vp_virtual *fleet, vp_virtual_node *node, const vp_prediction *prediction)
{
    static const uint8_t strangers_key[VP_WIRE_KEY_SIZE] = {1};
    uint8_t payload[VP_VIRTUAL_MAX_SENT];
    vp_prediction wrong = *prediction;
    for (unsigned i = 0; i < wrong.k; i++) {
        wrong.entries[i].index = (uint16_t)((wrong.entries[i].index + 1u) % fleet->classes);
    }
    const int size = vp_prediction_pack(&wrong, fleet->classes, payload, sizeof(payload));
    if (size <= 0) {
        return;
    }
    vp_virtual_sent *slot = new_slot(fleet);
    const vp_wire_header header = {.type = VP_PREDICTION,
                                   .fleet = fleet->fleet,
                                   .node = node->id,
                                   .counter = node->counter + 1000u};
    const int sealed = vp_message_seal(&header, payload, (size_t)size, strangers_key, slot->data,
                                       sizeof(slot->data));
    slot->node = (uint32_t)(node - fleet->nodes);
    slot->size = (uint16_t)(sealed > 0 ? sealed : 0);
    slot->is_first_prediction = 0;
    node->counts.forged++;
}

static void garble(vp_virtual *fleet, vp_virtual_node *node, vp_virtual_sent *slot)
{
    const uint32_t bit = random32(fleet) % (slot->size * 8u);
    slot->data[bit / 8u] = (uint8_t)(slot->data[bit / 8u] ^ (1u << bit % 8u));
    node->counts.garbled++;
}

/* The last message made is sent as the node's faults want it. */
static void spoil(vp_virtual *fleet, vp_virtual_node *node)
{
    const vp_virtual_faults *faults = &node->faults;
    if (happens(fleet, faults->drop)) {
        fleet->waiting--;
        node->counts.dropped++;
        return;
    }
    const vp_virtual_sent whole = fleet->out[fleet->waiting - 1u];
    if (happens(fleet, faults->garble)) {
        garble(fleet, node, &fleet->out[fleet->waiting - 1u]);
    } else if (happens(fleet, faults->duplicate)) {
        *new_slot(fleet) = whole;
        node->counts.duplicated++;
    }
}

static void send_payload(vp_virtual *fleet, vp_virtual_node *node, uint8_t type,
                         const uint8_t *payload, int size, const vp_prediction *first)
{
    if (size < 0) {
        return;
    }
    if (node->counter % CHANCES == 0u && type != VP_HELLO) {
        /* The boot counter has risen: who the node is now, before what it says. */
        vp_virtual_send_hello(fleet, node);
    }
    vp_virtual_sent *slot = new_slot(fleet);
    if (seal(fleet, node, type, payload, (size_t)size, slot) <= 0) {
        fleet->waiting--;
        return;
    }
    if (first != NULL) {
        slot->is_first_prediction = 1;
        slot->request = first->request;
    }
    spoil(fleet, node);
}

void vp_virtual_send_hello(vp_virtual *fleet, vp_virtual_node *node)
{
    uint8_t payload[VP_VIRTUAL_MAX_SENT];
    vp_hello hello = node->hello;
    const uint64_t rejected = node->counts.rejected - node->rejected_before;
    hello.uptime_ms = (uint32_t)((fleet->now_ns - node->started_ns) / 1000000u);
    hello.rejected = (uint16_t)(rejected < 65535u ? rejected : 65535u);
    node->counts.hellos++;
    send_payload(fleet, node, VP_HELLO, payload, vp_hello_pack(&hello, payload, sizeof(payload)),
                 NULL);
}

void vp_virtual_send_sack(vp_virtual *fleet, vp_virtual_node *node, const vp_sack *sack)
{
    uint8_t payload[VP_VIRTUAL_MAX_SENT];
    node->counts.sacks++;
    send_payload(fleet, node, VP_SACK, payload, vp_sack_pack(sack, payload, sizeof(payload)),
                 NULL);
}

void vp_virtual_send_error(vp_virtual *fleet, vp_virtual_node *node, uint16_t request, uint8_t code)
{
    uint8_t payload[VP_VIRTUAL_MAX_SENT];
    const vp_error error = {.request = request, .code = code};
    node->counts.errors++;
    send_payload(fleet, node, VP_ERROR, payload, vp_error_pack(&error, payload, sizeof(payload)),
                 NULL);
}

void vp_virtual_send_prediction(vp_virtual *fleet, vp_virtual_node *node,
                                const vp_prediction *prediction, int again)
{
    uint8_t payload[VP_VIRTUAL_MAX_SENT];
    node->counts.predictions++;
    node->counts.lies += node->faults.lie;
    send_payload(fleet, node, VP_PREDICTION, payload,
                 vp_prediction_pack(prediction, fleet->classes, payload, sizeof(payload)),
                 again ? NULL : prediction);
    if (happens(fleet, node->faults.forge)) {
        forge(fleet, node, prediction);
    }
}

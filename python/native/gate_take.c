#include <string.h>

#include "vp_gate.h"

/* Of a node, and of the fleet; slot VP_GATE_NOBODY: of the fleet alone. */
static void count(vp_gate *gate, uint32_t slot, unsigned column, uint64_t amount)
{
    if (slot < gate->size) {
        gate->counts[(size_t)slot * VP_COUNTS + column] += amount;
    }
    gate->fleet_counts[column] += amount;
}

/* Takes the same time wherever the first difference stands. */
static int tag_equal(const uint8_t *a, const uint8_t *b)
{
    uint8_t difference = 0;
    for (size_t i = 0; i < VP_WIRE_TAG_SIZE; i++) {
        difference = (uint8_t)(difference | (a[i] ^ b[i]));
    }
    return difference == 0u;
}

/* vp_message_verify with a key that was hashed before. */
static int verify(const vp_gate_node *node, const vp_wire_header *header, const uint8_t *message,
                  size_t size)
{
    uint8_t tag[VP_WIRE_TAG_SIZE];
    if (!node->is_keyed) {
        return vp_message_verify(message, size, NULL);
    }
    if (!header->authenticated) {
        return VP_WIRE_FORGED;
    }
    const size_t body = size - VP_WIRE_TAG_SIZE;
    vp_blake2s_finish(&node->keyed, message, body, tag);
    return tag_equal(tag, message + body) ? (int)(body - VP_WIRE_HEADER_SIZE) : VP_WIRE_FORGED;
}

static void touch(vp_gate *gate, vp_ballot *ballot)
{
    if (!ballot->touched) {
        ballot->touched = 1;
        gate->touched[gate->touched_count++] = ballot->number;
    }
}

int vp_gate_vote(vp_gate *gate, uint32_t slot, const vp_prediction *prediction,
                 uint32_t wire_bytes, double now)
{
    vp_ballot *ballot = gate->ballots[prediction->request];
    if (ballot == NULL || slot >= ballot->size ||
        (ballot->votes[slot].state & VP_VOTE_ASKED) == 0) {
        return VP_GATE_PASSED;
    }
    vp_vote *vote = &ballot->votes[slot];
    if ((vote->state & VP_VOTE_HERE) != 0) {
        count(gate, slot, VP_COUNT_DUPLICATE, 1);
        return VP_GATE_DROPPED;
    }
    if (prediction->k != ballot->k) {
        count(gate, slot, VP_COUNT_FOREIGN, 1);
        return VP_GATE_DROPPED;
    }
    for (unsigned i = 0; i < prediction->k; i++) {
        vote->classes[i] = prediction->entries[i].index;
        vote->scores[i] = prediction->entries[i].score;
    }
    vote->at = now;
    vote->time_quarter_ms = prediction->time_quarter_ms;
    vote->wire_bytes = (uint16_t)(wire_bytes < 65535u ? wire_bytes : 65535u);
    if ((vote->state & VP_VOTE_ERROR) == 0 && gate->nodes[slot].awaited) {
        ballot->awaited--;
    }
    if ((vote->state & VP_VOTE_WORKING) != 0) {
        vp_gate_release *release = &gate->releases[gate->release_count++];
        release->slot = (uint16_t)slot;
        release->time_quarter_ms = prediction->time_quarter_ms;
    }
    vote->state = (uint8_t)((vote->state | VP_VOTE_HERE) & ~(VP_VOTE_ERROR | VP_VOTE_WORKING));
    ballot->here++;
    gate->counts[(size_t)slot * VP_COUNTS + VP_COUNT_ANSWERS]++;
    touch(gate, ballot);
    return VP_GATE_VOTED;
}

static int drop(vp_gate *gate, uint32_t slot, unsigned column)
{
    count(gate, slot, column, 1);
    return VP_GATE_DROPPED;
}

static int is_vote(const vp_gate_node *node, const vp_wire_header *header)
{
    return header->type == VP_PREDICTION && node->open &&
           (int64_t)(header->counter >> VP_WIRE_SEQUENCE_BITS) == node->boot;
}

static int take(vp_gate *gate, uint32_t slot, const uint8_t *message, size_t size,
                uint32_t wire_bytes, double now)
{
    vp_wire_header header;
    vp_prediction prediction;

    count(gate, slot, VP_COUNT_MESSAGES_IN, 1);
    count(gate, slot, VP_COUNT_BYTES_IN, wire_bytes);
    if (vp_message_peek(message, size, &header) != VP_WIRE_OK) {
        return drop(gate, slot, VP_COUNT_DAMAGED);
    }
    if (slot >= gate->size || !gate->nodes[slot].present || header.fleet != gate->fleet ||
        header.node != gate->nodes[slot].id) {
        return drop(gate, slot, VP_COUNT_FOREIGN);
    }
    vp_gate_node *node = &gate->nodes[slot];
    const int payload = verify(node, &header, message, size);
    if (payload < 0) {
        return drop(gate, slot, payload == VP_WIRE_FORGED ? VP_COUNT_FORGED : VP_COUNT_DAMAGED);
    }
    if (vp_replay_accept(&node->replay, header.counter) != VP_WIRE_OK) {
        count(gate, slot, VP_COUNT_REPLAYED, 1);
        node->stale++;
        return node->open ? VP_GATE_DROPPED : VP_GATE_STALE;
    }
    node->stale = 0;
    if (!is_vote(node, &header)) {
        return VP_GATE_PASSED;
    }
    if (vp_prediction_unpack(message + VP_WIRE_HEADER_SIZE, (size_t)payload, gate->classes,
                             &prediction) != VP_WIRE_OK) {
        return drop(gate, slot, VP_COUNT_DAMAGED);
    }
    node->last_seen = now;
    node->answered_at = gate->counts[(size_t)slot * VP_COUNTS + VP_COUNT_MESSAGES_OUT];
    node->answered++;
    return vp_gate_vote(gate, slot, &prediction, wire_bytes, now);
}

static vp_gate_record *keep(vp_gate *gate, uint32_t slot, const uint8_t *message, size_t size,
                            uint32_t wire_bytes, int verdict)
{
    vp_gate_record *record = &gate->records[gate->record_count];
    uint8_t *kept = gate->messages + (size_t)gate->record_count * VP_GATE_ROOM;
    if (message != kept) {
        memmove(kept, message, size);
    }
    memset(record, 0, sizeof(*record));
    record->size = (uint32_t)size;
    record->wire_bytes = wire_bytes;
    record->slot = (uint16_t)slot;
    record->verdict = (uint8_t)verdict;
    gate->record_count++;
    return record;
}

int vp_gate_take(vp_gate *gate, uint32_t slot, const uint8_t *message, size_t size,
                 uint32_t wire_bytes, double now)
{
    const int verdict = take(gate, slot, message, size, wire_bytes, now);
    if (verdict >= VP_GATE_PASSED) {
        (void)keep(gate, slot, message, size, wire_bytes, verdict);
    }
    return verdict;
}

int vp_gate_stranger(vp_gate *gate, uint32_t slot, const uint8_t *message, size_t size,
                     const uint8_t address[16], uint16_t port, uint32_t scope)
{
    vp_wire_header header;
    if (vp_message_peek(message, size, &header) != VP_WIRE_OK || header.type != VP_HELLO ||
        header.fleet != gate->fleet ||
        (slot < gate->size && header.node == gate->nodes[slot].id)) {
        return 0;
    }
    unsigned strangers = 0;
    for (unsigned i = 0; i < gate->record_count; i++) {
        strangers += gate->records[i].verdict == VP_GATE_STRANGER;
    }
    if (strangers >= VP_GATE_STRANGERS) {
        return 0;
    }
    vp_gate_record *record =
        keep(gate, slot, message, size, (uint32_t)size, VP_GATE_STRANGER);
    memcpy(record->address, address, sizeof(record->address));
    record->port = port;
    record->scope = scope;
    return 1;
}

void vp_gate_clear(vp_gate *gate)
{
    for (unsigned i = 0; i < gate->touched_count; i++) {
        vp_ballot *ballot = gate->ballots[gate->touched[i]];
        if (ballot != NULL) {
            ballot->touched = 0;
        }
    }
    gate->record_count = 0;
    gate->touched_count = 0;
    gate->release_count = 0;
}

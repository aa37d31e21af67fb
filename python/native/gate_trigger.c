#include "vp_gate.h"

static int is_newer(int32_t number, int32_t than)
{
    const int32_t ahead = (number - than) & 65535;
    return ahead > 0 && ahead < 32768;
}

void vp_gate_ask(const vp_gate *gate, vp_ballot *ballot, const int64_t *slots, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t slot = (uint32_t)slots[i];
        vp_vote *vote = &ballot->votes[slot];
        if ((vote->state & VP_VOTE_ASKED) == 0) {
            vote->state |= VP_VOTE_ASKED;
            ballot->asked++;
            ballot->awaited += gate->nodes[slot].awaited;
        }
    }
}

uint32_t vp_gate_can_tell(const vp_gate *gate, const vp_ballot *ballot)
{
    uint32_t members = 0;
    for (uint32_t slot = 0; slot < gate->size; slot++) {
        const vp_gate_node *node = &gate->nodes[slot];
        const unsigned state = slot < ballot->size ? ballot->votes[slot].state : 0u;
        if ((state & VP_VOTE_ASKED) == 0u) {
            if (node->hears && node->source && node->engaged) {
                return 0;
            }
            continue;
        }
        if (state != VP_VOTE_ASKED || !node->hears || !node->source || node->engaged ||
            node->doubted || (node->newest >= 0 && is_newer(node->newest, ballot->number))) {
            return 0;
        }
        members++;
    }
    return members;
}

void vp_gate_tell(vp_gate *gate, vp_ballot *ballot, uint64_t counter, uint32_t bytes, double now)
{
    for (uint32_t slot = 0; slot < ballot->size; slot++) {
        vp_vote *vote = &ballot->votes[slot];
        if ((vote->state & VP_VOTE_ASKED) == 0) {
            continue;
        }
        vp_gate_node *node = &gate->nodes[slot];
        uint64_t *counts = gate->counts + (size_t)slot * VP_COUNTS;
        vote->state |= VP_VOTE_SENT;
        vote->sent = now;
        node->newest = ballot->number;
        node->begun_boot = (int64_t)(counter >> VP_WIRE_SEQUENCE_BITS);
        node->last_counter = (int64_t)counter;
        counts[VP_COUNT_MESSAGES_OUT]++;
        counts[VP_COUNT_BYTES_OUT] += bytes;
    }
    gate->fleet_counts[VP_COUNT_MESSAGES_OUT]++;
    gate->fleet_counts[VP_COUNT_BYTES_OUT] += bytes;
}

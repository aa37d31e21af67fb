#include <string.h>

#include "virtual_nodes.h"

#define GAP_NS 50000000u
#define GAP_REPORTS 5u
#define NEVER UINT64_MAX
#define TRIGGER_DIGEST 0x7472696767657221ull

enum input_state { INPUT_NONE = 0, INPUT_RECEIVING, INPUT_COMPLETE };

/* Finalizer of SplitMix64, Steele, Lea and Flood 2014. */
static uint64_t scramble(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

uint64_t vp_virtual_chunk_digest(const uint8_t *data, size_t size, uint16_t chunk)
{
    uint64_t hash = ((uint64_t)chunk << 32) + size;
    for (size_t at = 0; at < size; at += 8u) {
        uint64_t word = 0;
        memcpy(&word, data + at, size - at < 8u ? size - at : 8u);
        hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
        hash ^= hash >> 32;
    }
    return scramble(hash);
}

/* A sum, so that the chunks may come in any order. */
uint64_t vp_virtual_digest(const uint8_t *image, size_t size)
{
    uint64_t digest = 0;
    for (size_t at = 0; at < size; at += VP_WIRE_CHUNK_SIZE) {
        const size_t left = size - at;
        digest += vp_virtual_chunk_digest(
            image + at, left < VP_WIRE_CHUNK_SIZE ? left : VP_WIRE_CHUNK_SIZE,
            (uint16_t)(at / VP_WIRE_CHUNK_SIZE));
    }
    return digest;
}

uint64_t vp_virtual_trigger_digest(uint16_t request)
{
    return scramble(TRIGGER_DIGEST + request);
}

void vp_virtual_rule(uint64_t digest, uint32_t column, uint16_t classes, uint8_t k,
                     vp_entry *entries)
{
    const uint32_t winner = (uint32_t)(digest % classes);
    for (uint32_t i = 0; i < k; i++) {
        entries[i].index = (uint16_t)((winner + i) % classes);
        entries[i].score = (int8_t)(100 - 12 * (int)i - (int)(column % 8u));
    }
}

static const vp_entry *find_row(const vp_virtual *fleet, uint64_t digest, uint32_t column)
{
    uint32_t low = 0;
    uint32_t high = fleet->rows;
    while (low < high) {
        const uint32_t middle = (low + high) / 2u;
        if (fleet->digests[middle] < digest) {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    if (low == fleet->rows || fleet->digests[low] != digest) {
        return NULL;
    }
    return fleet->table + ((size_t)low * fleet->columns + column) * fleet->depth;
}

static void predict(vp_virtual *fleet, vp_virtual_node *node, const vp_virtual_work *work)
{
    vp_virtual_answer *answer = &node->answers[node->next_answer];
    vp_prediction *prediction = &answer->prediction;
    const uint64_t quarter_ms = (fleet->now_ns - work->complete_ns) / 250000u;
    node->next_answer = (uint8_t)((node->next_answer + 1u) % VP_VIRTUAL_MEMORY);
    answer->known = 1;
    answer->chunks = work->chunks;
    prediction->request = work->request;
    prediction->time_quarter_ms = (uint16_t)(quarter_ms < 65535u ? quarter_ms : 65535u);
    prediction->k = work->k;
    const vp_entry *row = find_row(fleet, work->digest, node->column);
    if (row != NULL && work->k <= fleet->depth) {
        memcpy(prediction->entries, row, work->k * sizeof(*row));
    } else {
        vp_virtual_rule(work->digest, node->column, fleet->classes, work->k, prediction->entries);
    }
    if (node->faults.lie) {
        const uint32_t best = prediction->entries[0].index;
        for (uint32_t i = 0; i < work->k; i++) {
            prediction->entries[i].index = (uint16_t)((best + 1u + i) % fleet->classes);
            prediction->entries[i].score = (int8_t)(127 - (int)i);
        }
    }
    vp_virtual_send_prediction(fleet, node, prediction, 0);
}

/* Takes work up if there is none under way; the input's buffer is then free for the next one. */
static void begin_work(vp_virtual *fleet, vp_virtual_node *node, const vp_virtual_work *from)
{
    const uint64_t takes_ns = (uint64_t)(node->answer_us + node->faults.slow_us) * 1000u;
    if (takes_ns == 0u && !node->faults.stall) {
        predict(fleet, node, from);
        return;
    }
    node->work = *from;
    node->work.active = 1;
    node->work.due_ns = fleet->now_ns + takes_ns;
    node->counts.stalled += node->faults.stall;
}

static void take_complete(vp_virtual *fleet, vp_virtual_node *node)
{
    if (node->receiving == INPUT_COMPLETE && !node->work.active) {
        node->receiving = INPUT_NONE;
        begin_work(fleet, node, &node->input);
    }
}

static int is_here(const vp_virtual_node *node, uint32_t chunk)
{
    return (node->here[chunk / 8u] >> chunk % 8u & 1) != 0;
}

static void send_sack_of_input(vp_virtual *fleet, vp_virtual_node *node)
{
    const uint32_t chunks = node->input.chunks;
    vp_sack sack = {.request = node->input.request, .received = (uint16_t)node->received};
    uint32_t chunk = 0;
    while (node->received < chunks && sack.range_count < VP_WIRE_MAX_RANGES) {
        while (chunk < chunks && is_here(node, chunk)) {
            chunk++;
        }
        const uint32_t first = chunk;
        while (chunk < chunks && !is_here(node, chunk)) {
            chunk++;
        }
        if (chunk == first) {
            break;
        }
        vp_sack_range *range = &sack.ranges[sack.range_count++];
        range->first = (uint16_t)first;
        range->count = (uint16_t)(chunk - first);
    }
    vp_virtual_send_sack(fleet, node, &sack);
}

static uint8_t refusal(const vp_virtual *fleet, const vp_virtual_node *node, const vp_input *chunk)
{
    const uint64_t size = (uint64_t)chunk->height * chunk->width * chunk->channels;
    if (chunk->channels != node->hello.channels || chunk->height == 0u || chunk->width == 0u) {
        return VP_ERROR_SHAPE;
    }
    if (size > fleet->image_capacity) {
        return VP_ERROR_TOO_LARGE;
    }
    if (chunk->k == 0u || chunk->k > VP_WIRE_MAX_K || chunk->k > fleet->classes) {
        return VP_ERROR_K;
    }
    return 0;
}

static void begin_input(vp_virtual *fleet, vp_virtual_node *node, const vp_input *chunk)
{
    if (node->receiving != INPUT_NONE) {
        vp_virtual_send_error(fleet, node, node->input.request, VP_ERROR_SUPERSEDED);
    }
    node->receiving = INPUT_RECEIVING;
    node->image_size = (uint32_t)chunk->height * chunk->width * chunk->channels;
    node->input = (vp_virtual_work){
        .request = chunk->request,
        .k = chunk->k,
        .chunks = (node->image_size + VP_WIRE_CHUNK_SIZE - 1u) / VP_WIRE_CHUNK_SIZE,
    };
    node->received = 0;
    node->reports = 0;
    memset(node->here, 0, sizeof(node->here));
}

/* A chunk of a request that is neither new nor being received: it can only ask for a report. */
static void report_past(vp_virtual *fleet, vp_virtual_node *node, uint16_t request)
{
    vp_sack sack = {.request = request};
    if (node->work.active && request == node->work.request) {
        sack.received = (uint16_t)(node->work.chunks != 0u ? node->work.chunks : 1u);
        vp_virtual_send_sack(fleet, node, &sack);
        return;
    }
    for (unsigned i = 0; i < VP_VIRTUAL_MEMORY; i++) {
        const vp_virtual_answer *answer = &node->answers[i];
        if (answer->known && answer->prediction.request == request) {
            sack.received = (uint16_t)answer->chunks;
            if (answer->chunks > 0u) {
                vp_virtual_send_sack(fleet, node, &sack);
            }
            vp_virtual_send_prediction(fleet, node, &answer->prediction, 1);
            return;
        }
    }
    vp_virtual_send_error(fleet, node, request, VP_ERROR_SUPERSEDED);
}

static void store(vp_virtual *fleet, vp_virtual_node *node, const vp_input *chunk,
                  uint64_t chunk_digest)
{
    const uint32_t number = chunk->chunk;
    if (chunk->data_size == 0u || number >= node->input.chunks || is_here(node, number)) {
        return;
    }
    const uint32_t left = node->image_size - number * VP_WIRE_CHUNK_SIZE;
    if (chunk->data_size != (left < VP_WIRE_CHUNK_SIZE ? left : VP_WIRE_CHUNK_SIZE)) {
        return;
    }
    node->here[number / 8u] = (uint8_t)(node->here[number / 8u] | 1u << number % 8u);
    node->input.digest += chunk_digest;
    node->received++;
    if (node->received == node->input.chunks) {
        node->receiving = INPUT_COMPLETE;
        node->input.complete_ns = fleet->now_ns;
    }
}

static int is_new_request(const vp_virtual_node *node, uint16_t request)
{
    const uint16_t ahead = (uint16_t)(request - node->latest);
    return !node->has_latest || (ahead != 0u && ahead < 0x8000u);
}

void vp_virtual_take_chunk(vp_virtual *fleet, vp_virtual_node *node, const vp_input *chunk,
                           uint64_t chunk_digest)
{
    const int report = (chunk->flags & VP_INPUT_REPORT) != 0;
    if (is_new_request(node, chunk->request)) {
        const uint8_t code = refusal(fleet, node, chunk);
        node->has_latest = 1;
        node->latest = chunk->request;
        if (code != 0u) {
            vp_virtual_send_error(fleet, node, chunk->request, code);
            return;
        }
        begin_input(fleet, node, chunk);
    } else if (node->receiving == INPUT_NONE || chunk->request != node->input.request) {
        if (report) {
            report_past(fleet, node, chunk->request);
        }
        return;
    }
    node->heard_ns = fleet->now_ns;
    node->reports = 0;
    if (node->receiving == INPUT_RECEIVING) {
        store(fleet, node, chunk, chunk_digest);
    }
    if (report) {
        send_sack_of_input(fleet, node);
    }
    take_complete(fleet, node);
}

void vp_virtual_take_trigger(vp_virtual *fleet, vp_virtual_node *node, const vp_trigger *trigger)
{
    const int report = (trigger->flags & VP_TRIGGER_REPORT) != 0;
    if ((node->hello.flags & VP_HELLO_SENSOR) == 0) {
        if (report) {
            vp_virtual_send_error(fleet, node, trigger->request, VP_ERROR_SOURCE);
        }
        return;
    }
    node->counts.triggers++;
    if (!is_new_request(node, trigger->request)) {
        node->received = node->input.chunks == 0u ? 1u : node->received;
        if (report && node->receiving == INPUT_COMPLETE &&
            node->input.request == trigger->request) {
            send_sack_of_input(fleet, node);
        } else if (report) {
            report_past(fleet, node, trigger->request);
        }
        return;
    }
    node->has_latest = 1;
    node->latest = trigger->request;
    if (trigger->k == 0u || trigger->k > VP_WIRE_MAX_K || trigger->k > fleet->classes) {
        vp_virtual_send_error(fleet, node, trigger->request, VP_ERROR_K);
        return;
    }
    if (node->receiving != INPUT_NONE) {
        vp_virtual_send_error(fleet, node, node->input.request, VP_ERROR_SUPERSEDED);
    }
    node->input = (vp_virtual_work){
        .request = trigger->request,
        .k = trigger->k,
        .digest = vp_virtual_trigger_digest(trigger->request),
        .complete_ns = fleet->now_ns,
    };
    node->received = 0;
    node->receiving = INPUT_COMPLETE;
    if (report && node->work.active) {
        send_sack_of_input(fleet, node);
    }
    take_complete(fleet, node);
}

void vp_virtual_start_afresh(vp_virtual_node *node)
{
    node->has_latest = 0;
    node->receiving = INPUT_NONE;
    node->work.active = 0;
    memset(node->answers, 0, sizeof(node->answers));
}

/* A node that stalls never ends its work; it still takes inputs in, and says how far it is. */
static int is_working(const vp_virtual_node *node)
{
    return node->work.active && !node->faults.stall;
}

void vp_virtual_do_due(vp_virtual *fleet, vp_virtual_node *node)
{
    const uint64_t now = fleet->now_ns;
    if (now >= node->hello_ns) {
        node->hello_ns = now + (uint64_t)fleet->hello_ms * 1000000u;
        vp_virtual_send_hello(fleet, node);
    }
    if (is_working(node) && now >= node->work.due_ns) {
        node->work.active = 0;
        predict(fleet, node, &node->work);
        take_complete(fleet, node);
    }
    if (node->receiving == INPUT_RECEIVING && node->reports < GAP_REPORTS &&
        now - node->heard_ns >= GAP_NS) {
        node->heard_ns = now;
        node->reports++;
        send_sack_of_input(fleet, node);
    }
}

uint64_t vp_virtual_wake(const vp_virtual_node *node)
{
    if (!node->alive) {
        return NEVER;
    }
    uint64_t wake = node->hello_ns;
    if (is_working(node) && node->work.due_ns < wake) {
        wake = node->work.due_ns;
    }
    if (node->receiving == INPUT_RECEIVING && node->reports < GAP_REPORTS &&
        node->heard_ns + GAP_NS < wake) {
        wake = node->heard_ns + GAP_NS;
    }
    return wake;
}

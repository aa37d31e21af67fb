#include <string.h>

#include "bytes.h"
#include "vp/wire.h"

#define HELLO_SIZE 48u
#define INPUT_HEAD 11u
#define SACK_HEAD 4u
#define RANGE_SIZE 4u
#define PREDICTION_HEAD 4u
#define ERROR_SIZE 3u
#define FAULT_SIZE 24u
#define TRIGGER_SIZE 4u
#define NARROW_CLASSES 256u

static int hello_ok(const vp_hello *hello)
{
    return hello->classes > 0u && hello->height > 0u && hello->width > 0u &&
           hello->channels > 0u && hello->reset_cause <= VP_RESET_FAULT &&
           (hello->flags & ~(VP_HELLO_MULTICAST | VP_HELLO_SENSOR)) == 0;
}

int vp_hello_pack(const vp_hello *hello, uint8_t *out, size_t capacity)
{
    if (!hello_ok(hello)) {
        return VP_WIRE_VALUE;
    }
    if (capacity < HELLO_SIZE) {
        return VP_WIRE_SPACE;
    }
    memcpy(out, hello->model_hash, VP_WIRE_HASH_SIZE);
    vp_put16(out + 8, hello->classes);
    vp_put16(out + 10, hello->height);
    vp_put16(out + 12, hello->width);
    out[14] = hello->channels;
    vp_put32(out + 15, hello->capacity);
    memcpy(out + 19, hello->firmware, sizeof(hello->firmware));
    out[22] = hello->reset_cause;
    vp_put32(out + 23, hello->uptime_ms);
    vp_put16(out + 27, hello->damaged);
    vp_put16(out + 29, hello->rejected);
    memcpy(out + 31, hello->board, VP_WIRE_BOARD_SIZE);
    out[47] = hello->flags;
    return (int)HELLO_SIZE;
}

int vp_hello_unpack(const uint8_t *payload, size_t size, vp_hello *hello)
{
    if (size != HELLO_SIZE) {
        return VP_WIRE_SHORT;
    }
    memcpy(hello->model_hash, payload, VP_WIRE_HASH_SIZE);
    hello->classes = vp_get16(payload + 8);
    hello->height = vp_get16(payload + 10);
    hello->width = vp_get16(payload + 12);
    hello->channels = payload[14];
    hello->capacity = vp_get32(payload + 15);
    memcpy(hello->firmware, payload + 19, sizeof(hello->firmware));
    hello->reset_cause = payload[22];
    hello->uptime_ms = vp_get32(payload + 23);
    hello->damaged = vp_get16(payload + 27);
    hello->rejected = vp_get16(payload + 29);
    memcpy(hello->board, payload + 31, VP_WIRE_BOARD_SIZE);
    hello->flags = payload[47];
    return hello_ok(hello) ? VP_WIRE_OK : VP_WIRE_VALUE;
}

/* k and the shape are the node's to judge: it answers bad ones with an ERROR. */
static int input_ok(const vp_input *input)
{
    return (input->flags & ~VP_INPUT_REPORT) == 0 && input->data_size <= VP_WIRE_CHUNK_SIZE;
}

int vp_input_pack(const vp_input *input, uint8_t *out, size_t capacity)
{
    if (!input_ok(input)) {
        return VP_WIRE_VALUE;
    }
    if (capacity < INPUT_HEAD + input->data_size) {
        return VP_WIRE_SPACE;
    }
    vp_put16(out, input->request);
    out[2] = input->k;
    out[3] = input->flags;
    vp_put16(out + 4, input->height);
    vp_put16(out + 6, input->width);
    out[8] = input->channels;
    vp_put16(out + 9, input->chunk);
    memcpy(out + INPUT_HEAD, input->data, input->data_size);
    return (int)(INPUT_HEAD + input->data_size);
}

int vp_input_unpack(const uint8_t *payload, size_t size, vp_input *input)
{
    if (size < INPUT_HEAD || size > INPUT_HEAD + VP_WIRE_CHUNK_SIZE) {
        return VP_WIRE_SHORT;
    }
    input->request = vp_get16(payload);
    input->k = payload[2];
    input->flags = payload[3];
    input->height = vp_get16(payload + 4);
    input->width = vp_get16(payload + 6);
    input->channels = payload[8];
    input->chunk = vp_get16(payload + 9);
    input->data_size = (uint16_t)(size - INPUT_HEAD);
    memcpy(input->data, payload + INPUT_HEAD, input->data_size);
    return input_ok(input) ? VP_WIRE_OK : VP_WIRE_VALUE;
}

static int sack_ok(const vp_sack *sack)
{
    uint32_t next = 0;
    if (sack->range_count > VP_WIRE_MAX_RANGES) {
        return 0;
    }
    for (unsigned i = 0; i < sack->range_count; i++) {
        const vp_sack_range *range = &sack->ranges[i];
        if (range->count == 0u || range->first < next || range->first + range->count > 65536) {
            return 0;
        }
        next = (uint32_t)range->first + range->count;
    }
    return 1;
}

int vp_sack_pack(const vp_sack *sack, uint8_t *out, size_t capacity)
{
    if (!sack_ok(sack)) {
        return VP_WIRE_VALUE;
    }
    const size_t size = SACK_HEAD + RANGE_SIZE * sack->range_count;
    if (capacity < size) {
        return VP_WIRE_SPACE;
    }
    vp_put16(out, sack->request);
    vp_put16(out + 2, sack->received);
    for (unsigned i = 0; i < sack->range_count; i++) {
        vp_put16(out + SACK_HEAD + RANGE_SIZE * i, sack->ranges[i].first);
        vp_put16(out + SACK_HEAD + RANGE_SIZE * i + 2u, sack->ranges[i].count);
    }
    return (int)size;
}

int vp_sack_unpack(const uint8_t *payload, size_t size, vp_sack *sack)
{
    if (size < SACK_HEAD || size > SACK_HEAD + RANGE_SIZE * VP_WIRE_MAX_RANGES ||
        (size - SACK_HEAD) % RANGE_SIZE != 0u) {
        return VP_WIRE_SHORT;
    }
    sack->request = vp_get16(payload);
    sack->received = vp_get16(payload + 2);
    sack->range_count = (uint8_t)((size - SACK_HEAD) / RANGE_SIZE);
    for (unsigned i = 0; i < sack->range_count; i++) {
        sack->ranges[i].first = vp_get16(payload + SACK_HEAD + RANGE_SIZE * i);
        sack->ranges[i].count = vp_get16(payload + SACK_HEAD + RANGE_SIZE * i + 2u);
    }
    return sack_ok(sack) ? VP_WIRE_OK : VP_WIRE_VALUE;
}

static int prediction_ok(const vp_prediction *prediction, uint16_t classes)
{
    if (prediction->k < 1u || prediction->k > VP_WIRE_MAX_K || prediction->k > classes) {
        return 0;
    }
    for (unsigned i = 0; i < prediction->k; i++) {
        const vp_entry *entry = &prediction->entries[i];
        if (entry->index >= classes) {
            return 0;
        }
        for (unsigned j = 0; j < i; j++) {
            const vp_entry *better = &prediction->entries[j];
            if (better->index == entry->index || better->score < entry->score ||
                (better->score == entry->score && better->index > entry->index)) {
                return 0;
            }
        }
    }
    return 1;
}

int vp_prediction_pack(const vp_prediction *prediction, uint16_t classes, uint8_t *out,
                       size_t capacity)
{
    if (!prediction_ok(prediction, classes)) {
        return VP_WIRE_VALUE;
    }
    const size_t entry_size = classes <= NARROW_CLASSES ? 2u : 3u;
    const size_t size = PREDICTION_HEAD + entry_size * prediction->k;
    if (capacity < size) {
        return VP_WIRE_SPACE;
    }
    vp_put16(out, prediction->request);
    vp_put16(out + 2, prediction->time_quarter_ms);
    out += PREDICTION_HEAD;
    for (unsigned i = 0; i < prediction->k; i++) {
        const uint16_t index = prediction->entries[i].index;
        *out++ = (uint8_t)(index & 255u);
        if (entry_size == 3u) {
            *out++ = (uint8_t)(index >> 8);
        }
        *out++ = (uint8_t)prediction->entries[i].score;
    }
    return (int)size;
}

int vp_prediction_unpack(const uint8_t *payload, size_t size, uint16_t classes,
                         vp_prediction *prediction)
{
    const size_t entry_size = classes <= NARROW_CLASSES ? 2u : 3u;
    if (size < PREDICTION_HEAD || (size - PREDICTION_HEAD) % entry_size != 0u ||
        (size - PREDICTION_HEAD) / entry_size > VP_WIRE_MAX_K) {
        return VP_WIRE_SHORT;
    }
    prediction->request = vp_get16(payload);
    prediction->time_quarter_ms = vp_get16(payload + 2);
    prediction->k = (uint8_t)((size - PREDICTION_HEAD) / entry_size);
    payload += PREDICTION_HEAD;
    for (unsigned i = 0; i < prediction->k; i++) {
        prediction->entries[i].index = entry_size == 3u ? vp_get16(payload) : payload[0];
        prediction->entries[i].score = (int8_t)payload[entry_size - 1u];
        payload += entry_size;
    }
    return prediction_ok(prediction, classes) ? VP_WIRE_OK : VP_WIRE_VALUE;
}

static int error_ok(const vp_error *error)
{
    return error->code >= VP_ERROR_TOO_LARGE && error->code <= VP_ERROR_CAPTURE;
}

int vp_error_pack(const vp_error *error, uint8_t *out, size_t capacity)
{
    if (!error_ok(error)) {
        return VP_WIRE_VALUE;
    }
    if (capacity < ERROR_SIZE) {
        return VP_WIRE_SPACE;
    }
    vp_put16(out, error->request);
    out[2] = error->code;
    return (int)ERROR_SIZE;
}

int vp_error_unpack(const uint8_t *payload, size_t size, vp_error *error)
{
    if (size != ERROR_SIZE) {
        return VP_WIRE_SHORT;
    }
    error->request = vp_get16(payload);
    error->code = payload[2];
    return error_ok(error) ? VP_WIRE_OK : VP_WIRE_VALUE;
}

int vp_fault_pack(const vp_fault *fault, uint8_t *out, size_t capacity)
{
    if (capacity < FAULT_SIZE) {
        return VP_WIRE_SPACE;
    }
    vp_put32(out, fault->pc);
    vp_put32(out + 4, fault->lr);
    vp_put32(out + 8, fault->psr);
    vp_put32(out + 12, fault->status);
    vp_put32(out + 16, fault->hard_status);
    vp_put32(out + 20, fault->address);
    return (int)FAULT_SIZE;
}

int vp_fault_unpack(const uint8_t *payload, size_t size, vp_fault *fault)
{
    if (size != FAULT_SIZE) {
        return VP_WIRE_SHORT;
    }
    fault->pc = vp_get32(payload);
    fault->lr = vp_get32(payload + 4);
    fault->psr = vp_get32(payload + 8);
    fault->status = vp_get32(payload + 12);
    fault->hard_status = vp_get32(payload + 16);
    fault->address = vp_get32(payload + 20);
    return VP_WIRE_OK;
}

/* k is the node's to judge. */
static int trigger_ok(const vp_trigger *trigger)
{
    return (trigger->flags & ~VP_TRIGGER_REPORT) == 0;
}

int vp_trigger_pack(const vp_trigger *trigger, uint8_t *out, size_t capacity)
{
    if (!trigger_ok(trigger)) {
        return VP_WIRE_VALUE;
    }
    if (capacity < TRIGGER_SIZE) {
        return VP_WIRE_SPACE;
    }
    vp_put16(out, trigger->request);
    out[2] = trigger->k;
    out[3] = trigger->flags;
    return (int)TRIGGER_SIZE;
}

int vp_trigger_unpack(const uint8_t *payload, size_t size, vp_trigger *trigger)
{
    if (size != TRIGGER_SIZE) {
        return VP_WIRE_SHORT;
    }
    trigger->request = vp_get16(payload);
    trigger->k = payload[2];
    trigger->flags = payload[3];
    return trigger_ok(trigger) ? VP_WIRE_OK : VP_WIRE_VALUE;
}

/* firmware/wire against the vectors of an independent Python statement of the protocol. */
#include <string.h>

#include "check.h"
#include "wire_vectors.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static int same(bytes expected, const uint8_t *data, int size)
{
    return size >= 0 && (size_t)size == expected.size &&
           (size == 0 || memcmp(expected.at, data, expected.size) == 0);
}

static int pack(uint8_t type, const void *fields, uint16_t classes, uint8_t *out, size_t capacity)
{
    switch (type) {
    case VP_HELLO: return vp_hello_pack(fields, out, capacity);
    case VP_INPUT: return vp_input_pack(fields, out, capacity);
    case VP_SACK: return vp_sack_pack(fields, out, capacity);
    case VP_PREDICTION: return vp_prediction_pack(fields, classes, out, capacity);
    case VP_ERROR: return vp_error_pack(fields, out, capacity);
    case VP_FAULT: return vp_fault_pack(fields, out, capacity);
    case VP_TRIGGER: return vp_trigger_pack(fields, out, capacity);
    default: return 0;
    }
}

typedef union any_payload {
    vp_hello hello;
    vp_input input;
    vp_sack sack;
    vp_prediction prediction;
    vp_error error;
    vp_fault fault;
    vp_trigger trigger;
} any_payload;

static int unpack(uint8_t type, bytes payload, uint16_t classes, any_payload *out)
{
    switch (type) {
    case VP_HELLO: return vp_hello_unpack(payload.at, payload.size, &out->hello);
    case VP_INPUT: return vp_input_unpack(payload.at, payload.size, &out->input);
    case VP_SACK: return vp_sack_unpack(payload.at, payload.size, &out->sack);
    case VP_PREDICTION:
        return vp_prediction_unpack(payload.at, payload.size, classes, &out->prediction);
    case VP_ERROR: return vp_error_unpack(payload.at, payload.size, &out->error);
    case VP_FAULT: return vp_fault_unpack(payload.at, payload.size, &out->fault);
    case VP_TRIGGER: return vp_trigger_unpack(payload.at, payload.size, &out->trigger);
    default: return payload.size == 0u ? VP_WIRE_OK : VP_WIRE_SHORT;
    }
}

static void test_digests(void)
{
    for (size_t i = 0; i < COUNT(crc_vectors); i++) {
        const crc_vector *v = &crc_vectors[i];
        const size_t half = v->data.size / 2u;
        CHECK(vp_crc32c(0, v->data.at, v->data.size) == v->crc);
        CHECK(vp_crc32c(vp_crc32c(0, v->data.at, half), v->data.at + half, v->data.size - half) ==
              v->crc);
    }
    for (size_t i = 0; i < COUNT(tag_vectors); i++) {
        uint8_t tag[VP_WIRE_TAG_SIZE];
        const bytes data = tag_vectors[i].data;
        vp_blake2s_tag(tag_vectors[i].key.at, data.at, data.size, tag);
        CHECK(same(tag_vectors[i].tag, tag, VP_WIRE_TAG_SIZE));
        if (data.size > 0u) {
            vp_blake2s keyed;
            memset(tag, 0, sizeof(tag));
            vp_blake2s_begin(tag_vectors[i].key.at, &keyed);
            vp_blake2s_finish(&keyed, data.at, data.size, tag);
            CHECK(same(tag_vectors[i].tag, tag, VP_WIRE_TAG_SIZE));
        }
    }
}

static void test_cobs(void)
{
    uint8_t out[VP_WIRE_MAX_FRAME];
    for (size_t i = 0; i < COUNT(cobs_vectors); i++) {
        const bytes data = cobs_vectors[i].data;
        const bytes frame = cobs_vectors[i].frame;
        CHECK(same(frame, out, vp_cobs_encode(data.at, data.size, out, sizeof(out))));
        CHECK(same(data, out, vp_cobs_decode(frame.at, frame.size, out, sizeof(out))));
        for (size_t space = 0; space < frame.size; space++) {
            CHECK(vp_cobs_encode(data.at, data.size, out, space) == VP_WIRE_SPACE);
        }
        for (size_t space = 0; space < data.size; space++) {
            CHECK(vp_cobs_decode(frame.at, frame.size, out, space) == VP_WIRE_SPACE);
        }
    }
    for (size_t i = 0; i < COUNT(bad_frames); i++) {
        CHECK(vp_cobs_decode(bad_frames[i].at, bad_frames[i].size, out, sizeof(out)) ==
              VP_WIRE_DAMAGED);
    }
}

static void test_messages(void)
{
    for (size_t i = 0; i < COUNT(message_vectors); i++) {
        const message_vector *v = &message_vectors[i];
        uint8_t out[VP_WIRE_MAX_FRAME];
        any_payload fields;
        vp_wire_header header;
        check_context = v->name;

        CHECK(same(v->payload, out, pack(v->header.type, v->fields, v->classes, out, sizeof(out))));
        for (size_t space = 0; space < v->payload.size; space++) {
            CHECK(pack(v->header.type, v->fields, v->classes, out, space) == VP_WIRE_SPACE);
        }
        memset(&fields, 0xa5, sizeof(fields));
        CHECK(unpack(v->header.type, v->payload, v->classes, &fields) == VP_WIRE_OK);
        CHECK(same(v->payload, out, pack(v->header.type, &fields, v->classes, out, sizeof(out))));

        CHECK(same(v->message, out,
                   vp_message_seal(&v->header, v->payload.at, v->payload.size, v->key, out,
                                   sizeof(out))));
        CHECK(vp_message_seal(&v->header, v->payload.at, v->payload.size, v->key, out,
                              v->message.size - 1u) == VP_WIRE_SPACE);
        CHECK(vp_message_peek(v->message.at, v->message.size, &header) == VP_WIRE_OK);
        CHECK(header.type == v->header.type && header.fleet == v->header.fleet &&
              header.node == v->header.node && header.counter == v->header.counter &&
              header.authenticated == v->header.authenticated);
        CHECK(vp_message_verify(v->message.at, v->message.size, v->key) == (int)v->payload.size);

        const int size = vp_cobs_encode(v->message.at, v->message.size, out, sizeof(out));
        CHECK(size > 0 && size < VP_WIRE_MAX_FRAME);
        out[size] = 0;
        CHECK(same(v->frame, out, size + 1));
    }
}

static void test_every_flipped_bit(void)
{
    for (size_t i = 0; i < COUNT(message_vectors); i++) {
        const message_vector *v = &message_vectors[i];
        uint8_t damaged[VP_WIRE_MAX_MESSAGE];
        check_context = v->name;
        for (size_t bit = 0; bit < 8u * v->message.size; bit += v->message.size > 100u ? 37u : 1u) {
            memcpy(damaged, v->message.at, v->message.size);
            damaged[bit / 8u] = (uint8_t)(damaged[bit / 8u] ^ (1u << bit % 8u));
            CHECK(vp_message_verify(damaged, v->message.size, v->key) < 0);
        }
    }
}

static void test_refusals(void)
{
    static const uint8_t payload[VP_WIRE_MAX_MESSAGE];
    uint8_t out[2 * VP_WIRE_MAX_MESSAGE];
    for (size_t i = 0; i < COUNT(bad_message_vectors); i++) {
        const bad_message_vector *v = &bad_message_vectors[i];
        check_context = v->name;
        CHECK(vp_message_verify(v->message.at, v->message.size, v->key) == v->error);
    }
    for (size_t i = 0; i < COUNT(bad_payload_vectors); i++) {
        const bad_payload_vector *v = &bad_payload_vectors[i];
        any_payload fields;
        check_context = v->name;
        CHECK(unpack(v->type, v->payload, v->classes, &fields) == v->error);
        if (v->error == VP_WIRE_VALUE) {
            CHECK(pack(v->type, &fields, v->classes, out, sizeof(out)) == VP_WIRE_VALUE);
        }
    }
    vp_wire_header header = {.type = VP_INPUT};
    check_context = "seal";
    CHECK(vp_message_seal(&header, payload, 527, NULL, out, sizeof(out)) == 540);
    CHECK(vp_message_seal(&header, payload, 528, NULL, out, sizeof(out)) == VP_WIRE_VALUE);
    CHECK(vp_message_seal(&header, payload, 523, payload, out, sizeof(out)) == 540);
    CHECK(vp_message_seal(&header, payload, 524, payload, out, sizeof(out)) == VP_WIRE_VALUE);
    header.counter = (uint64_t)1 << 40;
    CHECK(vp_message_seal(&header, payload, 0, NULL, out, sizeof(out)) == VP_WIRE_VALUE);
    header.counter = 0;
    header.type = 0;
    CHECK(vp_message_seal(&header, payload, 0, NULL, out, sizeof(out)) == VP_WIRE_VALUE);
    header.type = VP_TRIGGER + 1;
    CHECK(vp_message_seal(&header, payload, 0, NULL, out, sizeof(out)) == VP_WIRE_VALUE);
}

static void test_streams(void)
{
    for (size_t i = 0; i < COUNT(stream_vectors); i++) {
        const stream_vector *v = &stream_vectors[i];
        vp_deframer deframer = {0};
        size_t frames = 0;
        int overlong = 0;
        check_context = v->name;
        for (size_t at = 0; at < v->stream.size; at++) {
            const int size = vp_deframer_push(&deframer, v->stream.at[at]);
            if (size > 0) {
                CHECK(frames < v->frame_count && same(v->frames[frames], deframer.frame, size));
                frames++;
            } else if (size < 0) {
                CHECK(size == VP_WIRE_SHORT);
                overlong++;
            }
        }
        CHECK(frames == v->frame_count);
        CHECK(overlong == v->overlong);
    }
}

static void test_replay(void)
{
    vp_replay replay = {0};
    check_context = "replay";
    for (size_t i = 0; i < COUNT(replay_vectors); i++) {
        CHECK((vp_replay_accept(&replay, replay_vectors[i].counter) == VP_WIRE_OK) ==
              replay_vectors[i].accepted);
    }
}

static void test_provision(void)
{
    for (size_t i = 0; i < COUNT(provision_vectors); i++) {
        const provision_vector *v = &provision_vectors[i];
        uint8_t block[VP_PROVISION_SIZE];
        vp_provision fields;
        check_context = v->name;
        memset(&fields, 0xa5, sizeof(fields));
        CHECK(vp_provision_pack(&v->fields, block) == VP_WIRE_OK);
        CHECK(same(v->block, block, VP_PROVISION_SIZE));
        CHECK(vp_provision_unpack(v->block.at, &fields) == VP_WIRE_OK);
        CHECK(vp_provision_pack(&fields, block) == VP_WIRE_OK);
        CHECK(same(v->block, block, VP_PROVISION_SIZE));
    }
    for (size_t i = 0; i < COUNT(bad_block_vectors); i++) {
        const bad_block_vector *v = &bad_block_vectors[i];
        vp_provision fields;
        check_context = v->name;
        CHECK(vp_provision_unpack(v->block.at, &fields) == v->error);
    }
}

/* Random bytes through the whole receiving path: nothing is accepted, nothing reads out of bounds
 * (the build has the sanitizers), and a good frame after them is found. */
static void test_garbage(void)
{
    const message_vector *good = &message_vectors[0];
    vp_deframer deframer = {0};
    uint32_t random = 1;
    int found = 0;
    check_context = "garbage";
    for (int round = 0; round < 300; round++) {
        for (int i = 0; i < 700 + (int)good->frame.size; i++) {
            random = random * 1664525u + 1013904223u;
            uint8_t byte = (uint8_t)(random >> 24);
            if (i == 700 - 1) {
                byte = 0;
            } else if (i >= 700) {
                byte = good->frame.at[i - 700];
            } else if (byte < 4u) {
                byte = (uint8_t)(byte / 2u);
            }
            const int size = vp_deframer_push(&deframer, byte);
            if (size > 0) {
                uint8_t message[VP_WIRE_MAX_MESSAGE];
                any_payload fields;
                const int decoded =
                    vp_cobs_decode(deframer.frame, (size_t)size, message, sizeof(message));
                if (decoded > 0) {
                    for (uint8_t type = VP_HELLO; type <= VP_TRIGGER; type++) {
                        const bytes payload = {(size_t)decoded, message};
                        (void)unpack(type, payload, 10, &fields);
                    }
                    found += vp_message_verify(message, (size_t)decoded, NULL) >= 0;
                }
            }
        }
    }
    CHECK(found == 300);
}

int main(void)
{
    test_digests();
    test_cobs();
    test_messages();
    test_every_flipped_bit();
    test_refusals();
    test_streams();
    test_replay();
    test_provision();
    test_garbage();
    CHECK_DONE();
}

/* Random and mutated messages into the gateway's gate, with the sanitizers watching. Checks what must
 * hold whatever comes: every message is counted once, awaited and here add up, rejected ones leave no
 * vote. Usage: gate_fuzz SEED ROUNDS. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vp_gate.h"

#define NODES 5u
#define BALLOTS 4u
#define CLASSES 12u
#define FLEET 7u

static uint64_t state;

/* xorshift64, Marsaglia 2003. */
static uint32_t chance(uint32_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % below;
}

static void require(int condition, const char *what)
{
    if (!condition) {
        (void)fprintf(stderr, "gate_fuzz: %s\n", what);
        exit(1);
    }
}

static size_t make(uint8_t *message, size_t room, const uint8_t key[VP_WIRE_KEY_SIZE],
                   uint64_t counter)
{
    uint8_t payload[64];
    vp_prediction prediction = {0};
    vp_wire_header header = {0};
    prediction.request = (uint16_t)(chance(BALLOTS + 2u) * 1000u);
    prediction.k = (uint8_t)(1u + chance(4));
    for (unsigned i = 0; i < prediction.k; i++) {
        prediction.entries[i].index = (uint16_t)(3u * i + chance(3));
        prediction.entries[i].score = (int8_t)(100 - (int)i);
    }
    const int size = vp_prediction_pack(&prediction, CLASSES, payload, sizeof(payload));
    require(size > 0, "a good prediction does not pack");
    header.type = chance(8) == 0u ? (uint8_t)(1u + chance(8)) : VP_PREDICTION;
    header.fleet = FLEET;
    header.node = (uint16_t)(10u + chance(NODES));
    header.counter = counter;
    const int whole = vp_message_seal(&header, payload, (size_t)size, key, message, room);
    require(whole > 0, "a good message does not seal");
    return (size_t)whole;
}

int main(int count, char **arguments)
{
    require(count == 3, "SEED ROUNDS");
    state = strtoull(arguments[1], NULL, 10) * 2654435761u + 88172645463325252u;
    const unsigned long rounds = strtoul(arguments[2], NULL, 10);
    vp_gate *gate = calloc(1, sizeof(*gate));
    vp_gate_node *nodes = calloc(NODES, sizeof(*nodes));
    uint64_t *counts = calloc((NODES + 1u) * VP_COUNTS, sizeof(*counts));
    uint16_t places[16];
    uint8_t key[VP_WIRE_KEY_SIZE] = {1, 2, 3};
    require(gate != NULL && nodes != NULL && counts != NULL, "no memory");
    memset(places, 255, sizeof(places));
    gate->nodes = nodes;
    gate->counts = counts;
    gate->fleet_counts = counts + NODES * VP_COUNTS;
    gate->places = places;
    gate->place_mask = 15;
    gate->size = NODES;
    gate->classes = CLASSES;
    gate->fleet = FLEET;
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i].id = (uint16_t)(10u + i);
        nodes[i].present = nodes[i].open = nodes[i].awaited = nodes[i].alive = 1;
        nodes[i].is_keyed = 1;
        nodes[i].newest = -1;
        vp_blake2s_begin(key, &nodes[i].keyed);
    }
    uint64_t taken = 0;
    for (unsigned long round = 0; round < rounds; round++) {
        vp_ballot ballots[BALLOTS];
        vp_vote *votes[BALLOTS];
        memset(ballots, 0, sizeof(ballots));
        for (unsigned b = 0; b < BALLOTS; b++) {
            /* A ballot of a time when there were fewer nodes. */
            ballots[b].size = 1u + chance(NODES);
            votes[b] = calloc(ballots[b].size, sizeof(vp_vote));
            require(votes[b] != NULL, "no memory");
            ballots[b].votes = votes[b];
            ballots[b].number = (uint16_t)(b * 1000u);
            ballots[b].k = (uint8_t)(1u + chance(4));
            int64_t slots[NODES];
            for (unsigned i = 0; i < ballots[b].size; i++) {
                slots[i] = i;
            }
            vp_gate_ask(gate, &ballots[b], slots, ballots[b].size);
            gate->ballots[ballots[b].number] = &ballots[b];
        }
        vp_gate_clear(gate);
        for (unsigned i = 0; i < VP_GATE_BATCH; i++) {
            uint8_t message[700];
            size_t size = make(message, sizeof(message), chance(20) == 0u ? NULL : key, ++taken);
            if (chance(4) == 0u) {
                for (unsigned flips = 1u + chance(4); flips > 0u; flips--) {
                    message[chance((uint32_t)size)] ^= (uint8_t)(1u << chance(8));
                }
            }
            if (chance(16) == 0u) {
                size = chance(sizeof(message));
                for (size_t at = 0; at < size; at++) {
                    message[at] = (uint8_t)chance(256);
                }
            }
            /* Exactly its size, so that a byte too far is seen. */
            uint8_t *exact = malloc(size == 0u ? 1u : size);
            require(exact != NULL, "no memory");
            memcpy(exact, message, size);
            const uint32_t slot = chance(10) == 0u ? VP_GATE_NOBODY : chance(NODES);
            if (!vp_gate_stranger(gate, slot, exact, size, message, 1, 0)) {
                (void)vp_gate_take(gate, slot, exact, size, (uint32_t)size, 1.0);
            } else {
                gate->fleet_counts[VP_COUNT_MESSAGES_IN]++;
            }
            free(exact);
        }
        uint64_t here = 0;
        for (unsigned b = 0; b < BALLOTS; b++) {
            require(ballots[b].here + ballots[b].awaited == ballots[b].size, "awaited is wrong");
            here += ballots[b].here;
            uint16_t classes[NODES * VP_WIRE_MAX_K];
            int8_t scores[NODES * VP_WIRE_MAX_K];
            double weights[NODES];
            double shares[CLASSES];
            uint32_t rows = 0;
            for (unsigned i = 0; i < ballots[b].size; i++) {
                if ((votes[b][i].state & VP_VOTE_HERE) != 0) {
                    for (unsigned j = 0; j < ballots[b].k; j++) {
                        classes[rows * ballots[b].k + j] = votes[b][i].classes[j];
                        scores[rows * ballots[b].k + j] = votes[b][i].scores[j];
                        require(votes[b][i].classes[j] < CLASSES, "a class that there is not");
                    }
                    weights[rows++] = 1.0 + i;
                }
            }
            if (rows > 0u) {
                vp_combine(classes, scores, weights, rows, ballots[b].k, CLASSES, shares);
            }
            (void)vp_gate_can_tell(gate, &ballots[b]);
            vp_gate_tell(gate, &ballots[b], taken, 40, 2.0);
            gate->ballots[ballots[b].number] = NULL;
            free(votes[b]);
        }
        require(gate->record_count <= VP_GATE_BATCH && gate->touched_count <= BALLOTS,
                "more is left than came");
        if (round == 0u) {
            require(here > 0u, "no message was good enough for a vote");
        }
    }
    require(gate->fleet_counts[VP_COUNT_MESSAGES_IN] == taken, "messages are missing");
    free(gate);
    free(nodes);
    free(counts);
    return 0;
}
